//! Authority client: requests to ACME authorities, by the agent of this project.

use std::time::Duration;

use bytes::Bytes;
use byway_agent::dial::Roots;
use byway_agent::{Agent, Body, BuildError};
use byway_tls::acme::{HttpClient, ResponseFuture};
use http::{Request, Response};

/// Connections to one authority.
const MOST_CONNECTIONS: usize = 8;

/// Sends requests to authorities.
pub(super) struct AuthorityClient(Agent);

impl AuthorityClient {
    /// Trusts these roots.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn new(roots: Roots) -> Result<Self, BuildError> {
        let agent = Agent::builder()
            .tls_roots(roots)
            .max_per_origin(MOST_CONNECTIONS)
            .idle_timeout(Duration::from_secs(5))
            .build()?;
        Ok(Self(agent))
    }
}

impl HttpClient for AuthorityClient {
    fn send(&self, request: Request<Bytes>, most_bytes: usize) -> ResponseFuture {
        let agent = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head, Body::from(body));
            let (head, body) = agent.request(request).await?.into_parts();
            let body = body.bytes(most_bytes).await?;
            Ok(Response::from_parts(head, body))
        })
    }
}
