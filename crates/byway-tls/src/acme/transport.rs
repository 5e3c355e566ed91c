//! Transport: the HTTP client that the holder of this crate passes in, with a deadline and limits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use instant_acme::{BodyWrapper, BytesResponse, Error};
use parking_lot::Mutex;

use super::failure::TransportError;

/// How long one request to an authority may take.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// The longest response body that an authority may send.
pub const MOST_RESPONSE_BYTES: usize = 1024 * 1024;

/// An error of the HTTP client.
pub type ClientError = Box<dyn std::error::Error + Send + Sync>;

/// The response to come.
pub type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<Bytes>, ClientError>> + Send>>;

/// Sends HTTPS requests to an authority.
pub trait HttpClient: Send + Sync + 'static {
    /// Sends a request and collects the response, whose body has at most `most_bytes`. Redirects
    /// are not followed. Dropping the future abandons the request.
    fn send(&self, request: Request<Bytes>, most_bytes: usize) -> ResponseFuture;
}

/// The client, as the protocol needs it.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Arc<dyn HttpClient>,
    /// The last Retry-After of a refusal.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Transport {
    pub(crate) fn new(client: Arc<dyn HttpClient>) -> Self {
        Self {
            client,
            retry_after: Arc::default(),
        }
    }

    /// Takes the Retry-After of the last refusal.
    pub(crate) fn take_retry_after(&self) -> Option<Duration> {
        self.retry_after.lock().take()
    }
}

impl instant_acme::HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.client.clone();
        let retry_after = self.retry_after.clone();
        Box::pin(async move {
            let (mut head, mut body) = request.into_parts();
            let agent = concat!("byway/", env!("CARGO_PKG_VERSION"));
            head.headers
                .insert(header::USER_AGENT, HeaderValue::from_static(agent));
            // The whole body is one frame.
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            let frame = frame.await.and_then(Result::ok);
            let body = frame
                .and_then(|frame| frame.into_data().ok())
                .unwrap_or_default();
            let uri = head.uri.to_string();
            let sent = client.send(Request::from_parts(head, body), MOST_RESPONSE_BYTES);
            let response = match tokio::time::timeout(REQUEST_DEADLINE, sent).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => {
                    return Err(other(TransportError::Failed(chain(&*error))));
                }
                Err(_) => return Err(other(TransportError::Timeout(REQUEST_DEADLINE))),
            };
            let status = response.status();
            if status.is_client_error() || status.is_server_error() {
                *retry_after.lock() = delay_of(&response);
                if !is_problem(response.body()) {
                    return Err(other(TransportError::Answer(status.as_u16(), uri)));
                }
            }
            let (parts, body) = response.into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

fn other(error: TransportError) -> Error {
    Error::Other(Box::new(error))
}

/// An error with what caused it, which is often what one needs to know.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn is_problem(body: &[u8]) -> bool {
    serde_json::from_slice::<instant_acme::Problem>(body).is_ok()
}

/// Retry-After in seconds (RFC 9110 section 10.2.3). A date is ignored: our own delay applies.
fn delay_of(response: &Response<Bytes>) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?;
    value
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}
