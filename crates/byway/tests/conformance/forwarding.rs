//! Forwarding: what an intermediary changes in a request.

use crate::case::{Case, Must};

/// The rows.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case {
        section: "9110 7.6.1", name: "Connection is not forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["X-Mine: 1"]),
    },
    Case {
        section: "9110 7.6.1", name: "fields listed in two Connection lines are not forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: X-A\r\nConnection: X-B\r\nX-A: 11\r\nX-B: 22\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["X-A:", "X-B:"]),
    },
    Case {
        section: "9110 7.6.1", name: "connection options are case-insensitive",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: x-mine\r\nX-MINE: 1\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["X-MINE:"]),
    },
    Case {
        section: "9110 7.6.1", name: "Keep-Alive is not forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nKeep-Alive: timeout=7\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["timeout=7"]),
    },
    Case {
        section: "9112 C.2.2", name: "Proxy-Connection is not forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["Proxy-Connection"]),
    },
    Case {
        section: "9110 10.1.4", name: "TE is not forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["gzip"]),
    },
    Case {
        section: "9110 7.8", name: "Upgrade without Connection is not forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nUpgrade: foo\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["Upgrade: foo"]),
    },
    Case {
        section: "9110 7.8", name: "Upgrade in HTTP/1.0 is ignored",
        request: "GET /x HTTP/1.0\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["Upgrade:"]),
    },
    Case {
        section: "9110 7.6.1", name: "Host listed in Connection is kept",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Host\r\n\r\n",
        response: "",
        must: Must::ForwardOrRefuse(&["Host:"], &[]),
    },
    Case {
        section: "9110 7.6.1", name: "a Cookie that Connection lists is removed, or the request refused",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Cookie\r\nCookie: a=1\r\n\r\n",
        response: "",
        must: Must::ForwardOrRefuse(&["/x"], &["Cookie"]),
    },
    Case {
        section: "9110 7.6.3", name: "Via is added to a request",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Forward(&["Via: 1.1 "], &[]),
    },
    Case {
        section: "9110 7.6.3", name: "Via has the received version",
        request: "GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Forward(&["Via: 1.0 "], &[]),
    },
    Case {
        section: "9110 7.6.3", name: "an existing Via is kept",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 other\r\n\r\n",
        response: "",
        must: Must::Forward(&["1.1 other"], &[]),
    },
    Case {
        section: "9110 2.5", name: "a request is forwarded in the proxy's own version",
        request: "GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x HTTP/1.1"], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "Max-Forwards of OPTIONS is decremented",
        request: "OPTIONS /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 5\r\n\r\n",
        response: "",
        must: Must::Forward(&["Max-Forwards: 4"], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "an OPTIONS with Max-Forwards 0 is answered by the proxy",
        request: "OPTIONS /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
        response: "",
        must: Must::Answer(&["HTTP/1.1 "], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "Max-Forwards of TRACE is decremented",
        request: "TRACE /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 5\r\n\r\n",
        response: "",
        must: Must::ForwardOrRefuse(&["Max-Forwards: 4"], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "a TRACE with Max-Forwards 0 is answered by the proxy",
        request: "TRACE /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
        response: "",
        must: Must::Answer(&["HTTP/1.1 "], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "Max-Forwards of GET is ignored",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &[]),
    },
    Case {
        section: "9110 9.3.8", name: "the proxy's answer to TRACE has no secrets",
        request: "TRACE /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\nCookie: s=secret\r\n\r\n",
        response: "",
        must: Must::Answer(&["HTTP/1.1 "], &["secret"]),
    },
    Case {
        section: "9110 9.3.6", name: "CONNECT is refused by a reverse proxy",
        request: "CONNECT b.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Refuse,
    },
    Case {
        section: "9110 9.3.6", name: "CONNECT with a body",
        request: "CONNECT b.example:443 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody",
        response: "",
        must: Must::Refuse,
    },
    Case {
        section: "9112 3.2.3", name: "CONNECT without a port",
        request: "CONNECT b.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Refuse,
    },
    Case {
        section: "9110 5.1", name: "unknown fields are forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nX-New: 1\r\n\r\n",
        response: "",
        must: Must::Forward(&["X-New: 1"], &[]),
    },
    Case {
        section: "9110 5.1", name: "field names are case-insensitive",
        request: "POST /x HTTP/1.1\r\nHost: a.example\r\nCONTENT-LENGTH: 5\r\n\r\nhello",
        response: "",
        must: Must::Forward(&["hello"], &[]),
    },
    Case {
        section: "9110 11.6.2", name: "Authorization is forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nAuthorization: Basic eA==\r\n\r\n",
        response: "",
        must: Must::Forward(&["Authorization: Basic eA=="], &[]),
    },
    Case {
        section: "9110 10.1.1", name: "Expect: 100-continue with its body",
        request: "POST /x HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        response: "",
        must: Must::Forward(&["hello"], &[]),
    },
    Case {
        section: "9110 10.1.1", name: "Expect without a body",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\r\n",
        response: "",
        must: Must::ForwardOrRefuse(&[], &[]),
    },
    Case {
        section: "9110 10.1.1", name: "another Expect is 417 or forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nExpect: x\r\n\r\n",
        response: "",
        must: Must::ForwardOrRefuse(&[], &[]),
    },
    Case {
        section: "9112 9.3", name: "pipelined requests are each served",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\nGET /next HTTP/1.1\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &[]),
    },
    Case {
        section: "9112 9.6", name: "close is honoured: later requests are not served",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &[]),
    },
    Case {
        section: "9110 13.1", name: "conditions are forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nIf-None-Match: \"x\"\r\n\r\n",
        response: "",
        must: Must::Forward(&["If-None-Match: \"x\""], &[]),
    },
    Case {
        section: "9110 14.2", name: "ranges are forwarded",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nRange: bytes=0-1\r\n\r\n",
        response: "",
        must: Must::Forward(&["Range: bytes=0-1"], &[]),
    },
];
