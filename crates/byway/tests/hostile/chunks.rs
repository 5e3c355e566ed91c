//! Chunks: the chunked coding, where lenient and strict parsers differ.

use super::never_completed;

#[test]
fn line_ends_in_chunks_that_are_half_or_missing() {
    never_completed([
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
    ]);
}

#[test]
fn cve_2023_38697_sizes_that_others_read_differently() {
    never_completed([
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
    ]);
}

#[test]
fn sizes_that_overflow() {
    never_completed([
        "8000000000000000\r\nhello",
        "ffffffffffffffff\r\nhello",
        "10000000000000000\r\nhello",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "00000000000000000005\r\nhello\r\n0\r\n\r\n",
    ]);
}

#[test]
fn cve_2023_39326_extensions_without_end() {
    let long = format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let many = format!(
        "{}0\r\n\r\n",
        format!("1;{}\r\na\r\n", "x".repeat(100)).repeat(200)
    );
    never_completed([long, many]);
}

#[test]
fn extensions_that_hide_a_line_end() {
    never_completed([
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n0\r\n\r\n",
        "5;a=\"\\\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a=\r\nhello\r\n0\r\n\r\n",
        "5;a\r\r\nhello\r\n0\r\n\r\n",
        "5 a\r\nhello\r\n0\r\n\r\n",
    ]);
}

#[test]
fn trailers_that_are_not_well_formed() {
    never_completed([
        "5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\n\r\n",
        "5\r\nhello\r\n0\r\n X: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\n: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
    ]);
    never_completed([
        format!("5\r\nhello\r\n0\r\n{}\r\n", "X: 1\r\n".repeat(200)),
        format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(70_000)),
    ]);
}

#[test]
fn trailers_cannot_frame_route_or_identify_the_client() {
    let request = super::forwarded(
        "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 99\r\n\
         Transfer-Encoding: chunked\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
         X.Real.IP: 6.6.6.6\r\nAuthorization: Basic eA==\r\nCookie: a=1\r\n\r\n",
    );
    assert_eq!(request.trailers, "");
    assert_eq!(request.field("Host"), Some("a"));
}
