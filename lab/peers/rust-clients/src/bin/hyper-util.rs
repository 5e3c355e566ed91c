//! hyper-util's legacy client. It has no limit on connections, and no queue: a request that finds
//! no idle connection dials.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lab_clients::{Parameters, run};

type Pooled = Client<HttpConnector, Empty<Bytes>>;

fn open(_: &Parameters) -> Result<Pooled, String> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60));
    Ok(builder.build(connector))
}

async fn ask(client: Arc<Pooled>, url: Arc<str>) -> Result<usize, String> {
    let request = Request::get(&*url)
        .header("user-agent", "lab/1")
        .header("accept", "*/*");
    let request = request
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let response = client
        .request(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    if response.status() != StatusCode::OK {
        return Err(response.status().to_string());
    }
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok(body.to_bytes().len())
}

fn main() -> ExitCode {
    run(open, ask)
}
