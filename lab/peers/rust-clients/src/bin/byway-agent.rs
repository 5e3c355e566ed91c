//! byway-agent, which always has limits: at most 128 connections per origin and the given number in
//! total (8192 if none is given).

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use byway_agent::{Agent, Body};
use http::{Request, StatusCode};
use lab_clients::{BODY_BYTES, Parameters, run};

/// More connections than any question of the lab opens.
const PLENTY: usize = 8192;

fn open(parameters: &Parameters) -> Result<Agent, String> {
    let max_total = parameters.max_total.unwrap_or(PLENTY);
    let builder = Agent::builder()
        .max_total(max_total)
        .max_per_origin(max_total.min(128));
    builder
        .idle_timeout(Duration::from_secs(60))
        .build()
        .map_err(|error| error.to_string())
}

async fn ask(agent: Arc<Agent>, url: Arc<str>) -> Result<usize, String> {
    let request = Request::get(&*url)
        .header("user-agent", "lab/1")
        .header("accept", "*/*");
    let request = request
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let response = agent
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    if response.status() != StatusCode::OK {
        return Err(response.status().to_string());
    }
    let body = response
        .into_body()
        .bytes(BODY_BYTES)
        .await
        .map_err(|error| error.to_string())?;
    Ok(body.len())
}

fn main() -> ExitCode {
    run(open, ask)
}
