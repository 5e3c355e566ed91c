//! HTTP over a Unix socket, as Docker and many daemons speak it.
//! `cargo run -p byway-agent --example unix_socket`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::{Agent, BoxError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("daemon.sock");
    let _daemon = origin::Origin::start_unix(&path, async |request| {
        format!("{} serves {}", request.host, request.path)
    })?;

    // The URL's host is used only in the Host field; the socket's path is dialled.
    let agent = Agent::builder().unix_socket(&path).build()?;
    for request in ["/version", "/info"] {
        let response = agent.get(format!("http://daemon{request}")).await?;
        println!(
            "{}, reused: {}",
            response.status(),
            response.body().reused()
        );
        println!("  {}", response.into_body().text().await?);
    }
    Ok(())
}
