//! Interim: 1xx responses, reported while the final response is awaited.
//!
//! In:    a head with a status from 100 to 199 (except 101).
//! Out:   a call of the caller's function.
//! Never: more than [`byway_http::h1::MOST_INTERIM`] in one exchange.

use http::Response;
use std::fmt;
use std::sync::Arc;

/// A function to call with each interim response (100 Continue, 103 Early Hints…) of one request:
/// put it into the request's extensions. The task that polls the request calls it, so it must be
/// quick.
///
/// ```
/// use byway_agent::OnInterim;
///
/// let request = http::Request::get("http://example.com/")
///     .extension(OnInterim::new(|interim| println!("{} {:?}", interim.status(), interim.headers().get("link"))))
///     .body(byway_agent::Body::empty())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct OnInterim(pub(crate) Arc<Call>);

type Call = dyn Fn(&Response<()>) + Send + Sync;

impl OnInterim {
    /// Calls `call` with each interim response.
    pub fn new(call: impl Fn(&Response<()>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }
}

impl fmt::Debug for OnInterim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnInterim")
    }
}
