//! Forwarding: what an intermediary does with a request.

use crate::case::{Case, Must};

/// The rows.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case {
        section: "9110 7.6.1", name: "Connection stays behind",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["X-Mine: 1"]),
    },
    Case {
        section: "9110 7.6.1", name: "what two Connections list stays behind",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: X-A\r\nConnection: X-B\r\nX-A: 11\r\nX-B: 22\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["X-A:", "X-B:"]),
    },
    Case {
        section: "9110 7.6.1", name: "options know no case",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: x-mine\r\nX-MINE: 1\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["X-MINE:"]),
    },
    Case {
        section: "9110 7.6.1", name: "Keep-Alive stays behind",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nKeep-Alive: timeout=7\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["timeout=7"]),
    },
    Case {
        section: "9112 C.2.2", name: "Proxy-Connection stays behind",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["Proxy-Connection"]),
    },
    Case {
        section: "9110 10.1.4", name: "TE stays behind",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &["gzip"]),
    },
    Case {
        section: "9110 7.8", name: "Upgrade without Connection is not passed on",
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
        section: "9110 7.6.1", name: "Host cannot be listed away",
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
        section: "9110 7.6.3", name: "Via tells the version that came",
        request: "GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Forward(&["Via: 1.0 "], &[]),
    },
    Case {
        section: "9110 7.6.3", name: "a Via that was there stays",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 other\r\n\r\n",
        response: "",
        must: Must::Forward(&["1.1 other"], &[]),
    },
    Case {
        section: "9110 2.5", name: "a request goes on in our own version",
        request: "GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x HTTP/1.1"], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "Max-Forwards of OPTIONS counts down",
        request: "OPTIONS /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 5\r\n\r\n",
        response: "",
        must: Must::Forward(&["Max-Forwards: 4"], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "an OPTIONS with none left is answered here",
        request: "OPTIONS /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
        response: "",
        must: Must::Answer(&["HTTP/1.1 "], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "Max-Forwards of TRACE counts down",
        request: "TRACE /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 5\r\n\r\n",
        response: "",
        must: Must::ForwardOrRefuse(&["Max-Forwards: 4"], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "a TRACE with none left is answered here",
        request: "TRACE /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
        response: "",
        must: Must::Answer(&["HTTP/1.1 "], &[]),
    },
    Case {
        section: "9110 7.6.2", name: "Max-Forwards of GET is left alone",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &[]),
    },
    Case {
        section: "9110 9.3.8", name: "the answer to TRACE here shows no secrets",
        request: "TRACE /x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\nCookie: s=secret\r\n\r\n",
        response: "",
        must: Must::Answer(&["HTTP/1.1 "], &["secret"]),
    },
    Case {
        section: "9110 9.3.6", name: "CONNECT is not for a reverse proxy",
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
        section: "9110 5.1", name: "fields that nobody knows travel on",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nX-New: 1\r\n\r\n",
        response: "",
        must: Must::Forward(&["X-New: 1"], &[]),
    },
    Case {
        section: "9110 5.1", name: "names keep their meaning in any case",
        request: "POST /x HTTP/1.1\r\nHost: a.example\r\nCONTENT-LENGTH: 5\r\n\r\nhello",
        response: "",
        must: Must::Forward(&["hello"], &[]),
    },
    Case {
        section: "9110 11.6.2", name: "Authorization travels on",
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
        section: "9110 10.1.1", name: "another Expect is 417 or passed",
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
        section: "9112 9.6", name: "close is heeded: what follows is not served",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        response: "",
        must: Must::Forward(&["/x"], &[]),
    },
    Case {
        section: "9110 13.1", name: "conditions travel on",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nIf-None-Match: \"x\"\r\n\r\n",
        response: "",
        must: Must::Forward(&["If-None-Match: \"x\""], &[]),
    },
    Case {
        section: "9110 14.2", name: "ranges travel on",
        request: "GET /x HTTP/1.1\r\nHost: a.example\r\nRange: bytes=0-1\r\n\r\n",
        response: "",
        must: Must::Forward(&["Range: bytes=0-1"], &[]),
    },
];
