//! reqwest, as most Rust programs use it, without TLS. It has no limit on connections.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lab_clients::{Parameters, run};
use reqwest::{Client, StatusCode};

fn open(_: &Parameters) -> Result<Client, String> {
    let builder = Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .user_agent("lab/1");
    builder
        .pool_idle_timeout(Duration::from_secs(60))
        .build()
        .map_err(|error| error.to_string())
}

async fn ask(client: Arc<Client>, url: Arc<str>) -> Result<usize, String> {
    let response = client
        .get(&*url)
        .send()
        .await
        .map_err(|error| format!("{error:?}"))?;
    if response.status() != StatusCode::OK {
        return Err(response.status().to_string());
    }
    let body = response.bytes().await.map_err(|error| error.to_string())?;
    Ok(body.len())
}

fn main() -> ExitCode {
    run(open, ask)
}
