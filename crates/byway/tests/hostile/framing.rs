//! Framing: requests with an end on which two parsers disagree.

use super::{SMUGGLED, refused};

fn posts(fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .map(|fields| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n"))
        .collect()
}

#[test]
fn cve_2026_2835_a_length_and_a_coding_in_either_order() {
    refused(posts(&[
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 6\r\nTransfer-Encoding: identity",
        "Content-Length: 6\r\nTransfer-Encoding:",
        "Content-Length: 6\r\ntRANSFER-eNCODING: CHUNKED",
    ]));
}

#[test]
fn cve_2026_2835_a_coding_in_http_1_0() {
    refused([
        "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]);
}

#[test]
fn te_te_a_coding_that_only_one_of_two_parsers_knows() {
    refused(posts(&[
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0c",
        "Transfer-Encoding: chun\tked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: 1\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: 1\nTransfer-Encoding: chunked",
        "X: 1\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\0",
    ]));
}

#[test]
fn cve_2023_40225_lengths_that_are_no_single_plain_number() {
    refused(posts(&[
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5.",
        "Content-Length: 5e0",
        "Content-Length: 5 5",
        "Content-Length: 5,5",
        "Content-Length: 5, 6",
        "Content-Length: \"5\"",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: 0",
        "Content-Length: 5\r\nContent-Length:",
        "Content-Length\t: 5",
        "Content-Length:\r\n 5",
    ]));
}

#[test]
fn cve_2021_40346_lengths_that_overflow() {
    refused(posts(&[
        "Content-Length: 9223372036854775808",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551621",
        "Content-Length: 99999999999999999999999999999999999999999",
    ]));
}

#[test]
fn cve_2023_25725_fields_without_a_name() {
    refused(posts(&[
        ": 1",
        ":",
        "Content-Length: 5\r\n:",
        ": x\r\nTransfer-Encoding: chunked",
    ]));
}

#[test]
fn a_pipeline_behind_a_refusal_is_never_answered() {
    refused([format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n{}",
        SMUGGLED.repeat(20)
    )]);
}
