//! Indexing: which fields an encoder adds to its table.

/// Whether the values of a field repeat from message to message. `known` is the index of its name in
/// the static table.
pub(super) fn is_worth_indexing(name: &[u8], known: Option<u64>) -> bool {
    match known {
        Some(_) => !matches!(
            name,
            b"age"
                | b"content-length"
                | b"content-location"
                | b"content-range"
                | b"cookie"
                | b"etag"
                | b"expires"
                | b"if-match"
                | b"if-modified-since"
                | b"if-none-match"
                | b"if-range"
                | b"if-unmodified-since"
                | b"last-modified"
                | b"location"
                | b"range"
                | b"referer"
        ),
        None => !matches!(
            name,
            b"content-digest"
                | b"forwarded"
                | b"grpc-timeout"
                | b"idempotency-key"
                | b"repr-digest"
                | b"sec-websocket-accept"
                | b"sec-websocket-key"
                | b"server-timing"
                | b"traceparent"
                | b"tracestate"
                | b"x-forwarded-for"
                | b"x-real-ip"
                | b"x-request-id"
        ),
    }
}
