//! H2 mixtures: one table of requests that readers could understand differently, sent in each version
//! of HTTP. Each is refused before a byte of it reaches an origin, or reaches it with one meaning.

use byway_testkit::http2::{Http2Visitor, request};
use byway_testkit::{Message, Origin, Program, Visitor, origin};

use super::edge;
use super::h2_upstreams::edge_to;

/// One request in both versions.
struct Row {
    what: &'static str,
    /// As HTTP/1, up to its end or to a FIN.
    h1: &'static str,
    /// Its fields after method and path, which replace those that [`request`] has.
    h2: &'static [(&'static str, &'static str)],
    /// The body in HTTP/2.
    body: &'static str,
    must: Must,
}

/// What becomes of it.
enum Must {
    /// No origin gets anything.
    Refuse,
    /// The origin gets this line, these fields (an empty value: no such field) and this body.
    Arrive(
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
    ),
}

use Must::{Arrive, Refuse};

const ROWS: &[Row] = &[
    Row {
        what: "a plain request",
        h1: "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n",
        h2: &[(":path", "/x?y"), (":authority", "a")],
        body: "",
        must: Arrive(
            "GET /x?y HTTP/1.1",
            &[("Host", "a"), ("Content-Length", "")],
            "",
        ),
    },
    Row {
        what: "a body with a length",
        h1: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        h2: &[(":method", "POST"), ("content-length", "4")],
        body: "body",
        must: Arrive(
            "POST / HTTP/1.1",
            &[("Content-Length", "4"), ("Transfer-Encoding", "")],
            "body",
        ),
    },
    Row {
        what: "a body without a length",
        h1: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        h2: &[(":method", "POST")],
        body: "body",
        must: Arrive(
            "POST / HTTP/1.1",
            &[("Content-Length", ""), ("Transfer-Encoding", "chunked")],
            "body",
        ),
    },
    Row {
        what: "addresses that the client invents",
        h1: "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.2\r\n\r\n",
        h2: &[
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.2"),
        ],
        body: "",
        must: Arrive(
            "GET / HTTP/1.1",
            &[("X-Forwarded-For", "127.0.0.1"), ("X_Forwarded_For", "")],
            "",
        ),
    },
    Row {
        what: "a line break in a value",
        h1: "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n X-Smuggled: 1\r\n\r\n",
        h2: &[("x", "1\r\nx-smuggled: 1")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a request in a value",
        h1: "GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\nGET /smuggled HTTP/1.1\r\n\r\n",
        h2: &[("x", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a zero byte in a value",
        h1: "GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n",
        h2: &[("x", "1\x002")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a space in a name",
        h1: "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
        h2: &[("x ", "1")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a colon in a name",
        h1: "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
        h2: &[("x: 1\r\ny", "1")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a transfer coding beside a length",
        h1: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        h2: &[
            (":method", "POST"),
            ("content-length", "4"),
            ("transfer-encoding", "chunked"),
        ],
        body: "body",
        must: Refuse,
    },
    Row {
        what: "a transfer coding alone, which only HTTP/1.1 may have",
        h1: "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        h2: &[(":method", "POST"), ("transfer-encoding", "chunked")],
        body: "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        must: Refuse,
    },
    Row {
        what: "two lengths",
        h1: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        h2: &[
            (":method", "POST"),
            ("content-length", "4"),
            ("content-length", "5"),
        ],
        body: "body",
        must: Refuse,
    },
    Row {
        what: "a length that is no number",
        h1: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody",
        h2: &[(":method", "POST"), ("content-length", "+4")],
        body: "body",
        must: Refuse,
    },
    Row {
        what: "a body that is shorter than its length",
        h1: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody",
        h2: &[(":method", "POST"), ("content-length", "9")],
        body: "body",
        must: Refuse,
    },
    Row {
        what: "a line break in the method",
        h1: "GE\rT / HTTP/1.1\r\nHost: a\r\n\r\n",
        h2: &[(":method", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a version in the path",
        h1: "GET /a HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
        h2: &[(":path", "/a HTTP/1.1\r\nX-Smuggled: 1\r\n\r\nGET /b")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a path that is none",
        h1: "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        h2: &[(":path", "a/b")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a path that goes up",
        h1: "GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n",
        h2: &[(":path", "/a/%2e%2e/b")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "two hosts",
        h1: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        h2: &[(":authority", "a"), ("host", "b")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a user in the host",
        h1: "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        h2: &[(":authority", "a@b")],
        body: "",
        must: Refuse,
    },
    Row {
        what: "a field that Connection lists and the upstream needs",
        h1: "GET / HTTP/1.1\r\nHost: a\r\nConnection: Cookie\r\nCookie: a=1\r\n\r\n",
        h2: &[("connection", "cookie"), ("cookie", "a=1")],
        body: "",
        must: Refuse,
    },
];

/// An origin that records whole requests.
fn recording() -> Origin {
    Origin::scripted(|visitor| {
        while visitor.request().is_some() {
            visitor.send(origin::ok("served"));
        }
    })
}

/// Checks what the origin got of a row since it had `before` requests.
#[track_caller]
fn check(row: &Row, version: &str, was_served: bool, origin: &Origin, before: usize) {
    let requests = origin.requests();
    let what = format!("{}, {version}", row.what);
    match row.must {
        Refuse => {
            assert!(!was_served, "{what}");
            assert_eq!(requests.len(), before, "{what}: {:?}", requests.last());
        }
        Arrive(line, fields, body) => {
            assert!(was_served, "{what}");
            assert_eq!(requests.len(), before + 1, "{what}");
            let request: &Message = &requests[before];
            assert_eq!((request.line(), &*request.text()), (line, body), "{what}");
            for (name, value) in fields {
                let expected = (!value.is_empty()).then_some(*value);
                assert_eq!(request.field(name), expected, "{what}: {name}");
            }
        }
    }
}

#[test]
fn a_request_with_two_meanings_reaches_no_origin_in_any_version() {
    for upstream_version in ["HTTP/1", "HTTP/2"] {
        let origin = recording();
        let upstream = edge(&origin);
        match upstream_version {
            "HTTP/1" => try_rows(&upstream, &origin),
            _ => try_rows(&edge_to(&upstream, ""), &origin),
        }
    }
}

/// Sends every row in both versions to `program`, from which requests reach `origin`.
fn try_rows(program: &Program, origin: &Origin) {
    for row in ROWS {
        let before = origin.requests().len();
        let mut visitor = Visitor::connect(program.address());
        visitor.send(row.h1).finish();
        let (answer, _) = visitor.to_end();
        let was_served = answer.starts_with(b"HTTP/1.1 200");
        check(row, "HTTP/1", was_served, origin, before);

        let before = origin.requests().len();
        let mut visitor = Http2Visitor::connect(program.address());
        let mut fields = request("GET", "/");
        for (name, value) in row.h2 {
            match fields
                .iter_mut()
                .find(|field| field.0 == *name && name.starts_with(':'))
            {
                Some(field) => field.1 = value,
                None => fields.push((name, value)),
            }
        }
        let stream = visitor.head(&fields, row.body.is_empty());
        if !row.body.is_empty() {
            visitor.data(stream, row.body.as_bytes(), true);
        }
        let response = visitor.response(stream);
        check(row, "HTTP/2", response.status() == 200, origin, before);
        assert_eq!(visitor.get("/after").text(), "served", "{}", row.what);
    }
}
