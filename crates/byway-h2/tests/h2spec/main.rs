//! The cases of h2spec (github.com/summerwind/h2spec, its head, with `-S`) on the pure core, by its
//! sections: 44 generic ones, 8 of HPACK, 95 of HTTP/2.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod connection;
mod generic;
mod hpack;
mod streams;

/// Section, what the peer does and what follows, and a function that fails if it does not.
type Case = (&'static str, &'static str, fn());

/// Runs each case, and names those that fail.
fn run(cases: &[Case]) {
    let failed: Vec<String> = cases
        .iter()
        .filter(|(.., case)| std::panic::catch_unwind(case).is_err())
        .map(|(section, name, _)| format!("{section} {name}"))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_server_accepts_what_it_must_accept() {
    run(generic::CASES);
}

#[test]
fn a_field_block_that_cannot_be_decoded_ends_the_connection() {
    run(hpack::CASES);
}

#[test]
fn frames_of_the_connection_follow_rfc_9113() {
    run(connection::CASES);
}

#[test]
fn frames_of_streams_follow_rfc_9113() {
    run(streams::CASES);
}

#[test]
fn all_147_cases_are_there() {
    assert_eq!(generic::CASES.len(), 44);
    assert_eq!(hpack::CASES.len(), 8);
    assert_eq!(connection::CASES.len() + streams::CASES.len(), 95);
}
