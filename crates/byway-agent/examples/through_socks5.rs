//! Requests through a SOCKS 5 proxy. Everything is on this machine: the origin, the proxy, and a name that only the proxy
//! knows.
//!
//!     cargo run -p byway-agent --example through_socks5
//!
//! Two requests, one stream through the proxy: a connection is kept, whatever lies between.

use byway_agent::dial::socks::{Command, Greeting, Method, MethodChoice, Parsed, Reply, ReplyCode, Request};
use byway_agent::dial::{Read, Stream};
use byway_agent::{Agent, Proxy};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let origin = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = TcpListener::bind("127.0.0.1:0").await?;
    let (origin_at, proxy_at) = (origin.local_addr()?, proxy.local_addr()?);
    tokio::spawn(serve_origin(origin));
    tokio::spawn(serve_proxy(proxy, origin_at));

    let agent = Agent::builder().proxy(Proxy::socks5h(&proxy_at.to_string())?).build()?;
    for path in ["first", "second"] {
        let response = agent.get(format!("http://only-the-proxy-knows.example/{path}")).await?;
        println!("{}: {}", response.status(), response.into_body().text().await?);
    }
    println!("{}", agent.stats());
    // From the environment instead: Agent::builder().proxy(Proxy::from_env()?)
    Ok(())
}

/// An origin that says what it was asked for.
async fn serve_origin(listener: TcpListener) -> Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut socket = BufReader::new(socket);
            let mut head = String::new();
            while socket.read_line(&mut head).await? > 0 {
                if !head.ends_with("\r\n\r\n") {
                    continue;
                }
                let asked = head.lines().next().unwrap_or_default().to_owned();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{asked}", asked.len());
                socket.write_all(answer.as_bytes()).await?;
                head.clear();
            }
            Result::Ok(())
        });
    }
}

/// A proxy with one idea: whatever name it is asked for is the origin's.
async fn serve_proxy(listener: TcpListener, origin: std::net::SocketAddr) -> Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut stream = Stream::tcp(socket);
            let greeting = hear(&mut stream, Greeting::parse).await?;
            let choice = match greeting.offers(Method::Open) {
                true => MethodChoice::Use(Method::Open),
                false => MethodChoice::NoneAcceptable,
            };
            say(&mut stream, |out| choice.encode(out)).await?;
            let request = hear(&mut stream, Request::parse).await?;
            println!("the proxy was asked for {}", request.target());
            let code = match request.command() {
                Command::Connect => ReplyCode::Succeeded,
                _ => ReplyCode::CommandNotSupported,
            };
            say(&mut stream, |out| Reply::new(code).encode(out)).await?;
            let mut upstream = TcpStream::connect(origin).await?;
            copy_bidirectional(&mut byway_agent::dial::AsIo(stream), &mut upstream).await?;
            Result::Ok(())
        });
    }
}

/// One message of the handshake and not a byte more, since what follows is the origin's.
async fn hear<T>(stream: &mut Stream, parse: fn(&[u8]) -> Parsed<T>) -> Result<T> {
    let mut heard = Vec::new();
    loop {
        if let Some((message, _)) = parse(&heard)? {
            return Ok(message);
        }
        let mut byte = [0];
        if stream.read(&mut byte).await? == Read::Fin {
            return Err("the client left".into());
        }
        heard.extend(byte);
    }
}

async fn say(stream: &mut Stream, encode: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut out = Vec::new();
    encode(&mut out);
    Ok(stream.write_all(&out).await?)
}
