//! All requests to one address, as in Node by overriding `createConnection`: once by an option,
//! once by your own connector. `cargo run -p byway-agent --example one_address`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::{Agent, BoxError, Target, connector_fn};
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let origin = origin::Origin::start(async |request| {
        format!("you requested http://{}{}", request.host, request.path)
    })
    .await?;

    let agent = Agent::builder().one_address(origin.address()).build()?;
    println!(
        "{}",
        agent
            .get("http://xxx.com/")
            .await?
            .into_body()
            .text()
            .await?
    );

    // A connector receives the target and may return anything that reads and writes.
    let address = origin.address();
    let connector = connector_fn(move |target: Target| {
        println!("the connector opens {target}");
        TcpStream::connect(address.clone())
    });
    let agent = Agent::builder().connector(connector).build()?;
    for url in ["http://yyy.com/", "http://yyy.com/again"] {
        println!("{}", agent.get(url).await?.into_body().text().await?);
    }
    assert_eq!(
        agent.stats().counters().opened,
        1,
        "the connector does not pool; the agent does"
    );
    Ok(())
}
