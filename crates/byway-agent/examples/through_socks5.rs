//! Through a SOCKS 5 proxy that resolves the name itself. Two requests use one stream through the
//! proxy, which is kept like any connection.
//! `cargo run -p byway-agent --example through_socks5`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::dial::socks::{
    Command, Greeting, Method, MethodChoice, Parsed, Reply, ReplyCode, Request,
};
use byway_agent::dial::{AsIo, Read, Stream};
use byway_agent::{Agent, BoxError, Proxy};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let origin =
        origin::Origin::start(async |request| format!("{} of {}", request.path, request.host))
            .await?;
    let proxy = TcpListener::bind("127.0.0.1:0").await?;
    let at = proxy.local_addr()?.to_string();
    let mut serving = JoinSet::new();
    serving.spawn(serve(proxy, origin.address()));

    let agent = Agent::builder().proxy(Proxy::socks5h(&at)?).build()?;
    for path in ["first", "second"] {
        let response = agent
            .get(format!("http://only-the-proxy-knows.example/{path}"))
            .await?;
        println!(
            "{}, reused: {}",
            response.status(),
            response.body().reused()
        );
        println!("  {}", response.into_body().text().await?);
    }
    println!("{}", agent.stats());
    assert_eq!(agent.stats().counters().opened, 1);
    Ok(())
}

/// A proxy that connects every request to the origin.
async fn serve(listener: TcpListener, origin: String) {
    let mut streams = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let origin = origin.clone();
        streams.spawn(async move {
            if let Err(error) = relay(Stream::tcp(socket), origin).await {
                println!("the proxy: {error}");
            }
        });
    }
}

async fn relay(mut stream: Stream, origin: String) -> Result<(), BoxError> {
    let greeting = recv(&mut stream, Greeting::parse).await?;
    if !greeting.offers(Method::Open) {
        return send(&mut stream, |out| MethodChoice::NoneAcceptable.encode(out)).await;
    }
    send(&mut stream, |out| {
        MethodChoice::Use(Method::Open).encode(out)
    })
    .await?;
    let request = recv(&mut stream, Request::parse).await?;
    println!("the proxy connects to {}", request.target());
    if request.command() != Command::Connect {
        return send(&mut stream, |out| {
            Reply::new(ReplyCode::CommandNotSupported).encode(out)
        })
        .await;
    }
    let mut upstream = TcpStream::connect(origin).await?;
    send(&mut stream, |out| {
        Reply::new(ReplyCode::Succeeded).encode(out)
    })
    .await?;
    copy_bidirectional(&mut AsIo(stream), &mut upstream).await?;
    Ok(())
}

/// Reads exactly one message of the handshake: later bytes are for the origin.
async fn recv<T>(stream: &mut Stream, parse: fn(&[u8]) -> Parsed<T>) -> Result<T, BoxError> {
    let mut received = Vec::new();
    loop {
        if let Some((message, _)) = parse(&received)? {
            return Ok(message);
        }
        let mut byte = [0];
        if stream.read(&mut byte).await? == Read::Fin {
            return Err("the client left in the middle of the handshake".into());
        }
        received.extend(byte);
    }
}

async fn send(stream: &mut Stream, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), BoxError> {
    let mut out = Vec::new();
    encode(&mut out);
    Ok(stream.write_all(&out).await?)
}
