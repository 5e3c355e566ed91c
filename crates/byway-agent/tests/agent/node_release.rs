//! Node's Agent, rows 11 to 22: when a connection is free again.

use crate::memory::{Told, agent, begin, get, get_error, ok, post, text};
use bytes::Bytes;
use byway_agent::{CloseReason, Error};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use std::pin::pin;
use std::time::Duration;
use tokio::join;

#[tokio::test(start_paused = true)]
async fn n11_a_connection_is_free_when_the_response_is_read_and_the_request_is_written_and_not_before() {
    let (agent, mut origins) = agent(|builder| builder);
    let (body, mut source) = crate::streaming::channel();
    let request = Request::post("http://a.example/").body(body).unwrap();
    let (response, mut server) = join!(agent.request(request), async {
        let mut server = origins.accept().await;
        server.head().await;
        server.send(ok("early")).await;
        server
    });
    // The response is whole before the request is.
    let mut body = response.unwrap().into_body();
    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(data, "early");
    assert_eq!((agent.stats().totals().active(), agent.stats().totals().idle()), (1, 0));
    source.send(Bytes::from_static(b"late")).await;
    drop(source);
    assert!(body.frame().await.is_none());
    assert_eq!(server.until(b"0\r\n\r\n").await, b"4\r\nlate\r\n0\r\n\r\n");
    assert_eq!((agent.stats().totals().active(), agent.stats().totals().idle()), (0, 1));
}
