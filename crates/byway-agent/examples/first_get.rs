//! A first GET, a POST, and the connection that carries both.
//! `cargo run -p byway-agent --example first_get`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::{Agent, Body, BoxError};
use http::Request;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let origin = origin::Origin::start(async |request| {
        format!("you sent {} {}", request.method, request.path)
    })
    .await?;

    let agent = Agent::new();
    let response = agent.get(origin.url("/hello")).await?;
    println!(
        "{} from {:?}",
        response.status(),
        response.body().remote_addr()
    );
    println!("  {}", response.into_body().text().await?);

    // Any `http::Request` with any `http_body::Body`; `Body` makes one from text or bytes.
    let request = Request::post(origin.url("/form")).body(Body::from("name=byway"))?;
    let response = agent.request(request).await?;
    println!(
        "{}, reused: {}",
        response.status(),
        response.body().reused()
    );
    println!("  {}", response.into_body().text().await?);

    assert_eq!(
        agent.stats().counters().opened,
        1,
        "the body was read to its end, so its connection was kept"
    );
    Ok(())
}
