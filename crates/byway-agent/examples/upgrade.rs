//! A connection that leaves HTTP by 101, as a WebSocket does.
//! `cargo run -p byway-agent --example upgrade`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::{Agent, Body, BoxError};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let origin = origin::Origin::start(async |_| "the request has no upgrade".to_owned()).await?;
    let agent = Agent::new();

    let request = Request::get(origin.url("/chat"))
        .header("connection", "Upgrade")
        .header("upgrade", "echo");
    let response = agent.request(request.body(Body::empty())?).await?;
    println!("{}", response.status());
    let mut chat = response
        .into_body()
        .upgraded()
        .ok_or("the origin did not switch")?;
    println!("{}", agent.stats().totals());

    chat.write_all(b"hello, echo").await?;
    let mut received = [0; 11];
    chat.read_exact(&mut received).await?;
    println!("received: {}", String::from_utf8_lossy(&received));

    // `shutdown` sends a FIN; dropping without it sends a reset.
    chat.shutdown().await?;
    let mut rest = Vec::new();
    chat.read_to_end(&mut rest).await?;
    drop(chat);
    println!("{}", agent.stats().totals());
    Ok(())
}
