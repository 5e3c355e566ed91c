//! Tests of an agent without connections.

use super::*;

#[test]
fn the_defaults_can_be_built() {
    let totals = Agent::new().stats().totals().clone();
    assert_eq!(
        (totals.limit(), totals.open(), totals.pending()),
        (1024, 0, 0)
    );
    assert_eq!(Agent::unpooled().stats().totals().limit(), 1024);
}

#[test]
fn a_request_and_its_response_may_cross_threads() {
    fn send<T: Send>() {}
    fn send_sync<T: Send + Sync>() {}
    send_sync::<Agent>();
    send_sync::<Error>();
    send::<Body>();
    send::<Upgraded>();
    let agent = Agent::new();
    let future = agent.request(Request::new(Body::empty()));
    fn is_send(_: &impl Send) {}
    is_send(&future);
    assert!(
        size_of_val(&future) < 4096,
        "a request's future has {} bytes",
        size_of_val(&future)
    );
}
