//! Your own grouping, as in Node by overriding `getName`: hosts that share their connections, paths
//! with separate limits.
//! `cargo run -p byway-agent --example regrouping`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::{Agent, BoxError};
use http::request::Parts;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

/// `/search` has its own cluster on every host; the shards of the shop share another; everything
/// else is grouped by origin, as usual.
fn cluster(request: &Parts) -> Option<&'static str> {
    let host = request.uri.host().unwrap_or_default();
    match request.uri.path() {
        path if path.starts_with("/search") => Some("search"),
        _ if host.ends_with(".shop.example") => Some("shop"),
        _ => None,
    }
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let origin =
        origin::Origin::start(async |request| format!("{}{}", request.host, request.path)).await?;
    // In this example every name resolves to the same origin.
    let agent = Agent::builder()
        .group_by(cluster)
        .one_address(origin.address())
        .build()?;
    for url in [
        "http://eu.shop.example/cart",
        "http://us.shop.example/cart",
        "http://eu.shop.example/search?q=tea",
        "http://other.example/",
    ] {
        let response = agent.get(url).await?;
        let reused = response.body().reused();
        println!(
            "{:<32} reused: {reused}",
            response.into_body().text().await?
        );
    }
    println!("{}", agent.stats());
    assert_eq!(agent.stats().groups().len(), 3);
    Ok(())
}
