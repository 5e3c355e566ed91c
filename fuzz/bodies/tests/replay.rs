//! Replays the committed corpora on a stable toolchain, as a regression test of findings.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(target);
    let mut replayed = 0;
    for entry in
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        body(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn the_corpus_of_request_heads_passes() {
    replay("h1_request_head", byway_fuzz_bodies::h1::request_head);
}

#[test]
fn the_corpus_of_response_heads_passes() {
    replay("h1_response_head", byway_fuzz_bodies::h1::response_head);
}

#[test]
fn the_corpus_of_scripts_for_a_connection_of_http2_passes() {
    replay("h2_connection", byway_fuzz_bodies::h2::connection);
}

#[test]
fn the_corpus_of_chunked_bodies_passes() {
    replay("h1_chunked", byway_fuzz_bodies::h1::chunked);
}

#[test]
fn the_corpus_of_header_blocks_passes() {
    replay("hpack_decode", byway_fuzz_bodies::hpack::decode);
}

#[test]
fn the_corpus_of_fields_for_header_blocks_passes() {
    replay("hpack_round_trip", byway_fuzz_bodies::hpack::round_trip);
}

#[test]
fn the_corpus_of_socks_messages_passes() {
    replay("socks", byway_fuzz_bodies::socks::socks);
}

#[test]
fn the_corpus_of_configs_passes() {
    replay("config", byway_fuzz_bodies::config::config);
}

#[test]
fn the_corpus_of_scripts_for_a_mux_passes() {
    replay("link_mux", byway_fuzz_bodies::link::mux);
}

#[test]
fn the_corpus_of_link_messages_passes() {
    replay("link_messages", byway_fuzz_bodies::link::messages);
}

#[test]
fn the_corpus_of_join_strings_passes() {
    replay("link_join", byway_fuzz_bodies::link::join);
}

#[test]
fn the_corpus_of_dns_replies_passes() {
    replay("dns_reply", byway_fuzz_bodies::dns::reply);
}

#[test]
fn the_corpus_of_websocket_frames_passes() {
    replay("ws_frames", byway_fuzz_bodies::ws::frames);
}

#[test]
fn the_corpus_of_websocket_handshakes_passes() {
    replay("ws_handshake", byway_fuzz_bodies::ws::handshake);
}

#[test]
fn request_heads_are_read_as_another_parser_reads_them() {
    for corpus in ["h1_same_request", "h1_request_head", "h1_stream"] {
        replay(corpus, byway_fuzz_bodies::differential::request);
    }
}

#[test]
fn response_heads_are_read_as_another_parser_reads_them() {
    for corpus in ["h1_same_response", "h1_response_head"] {
        replay(corpus, byway_fuzz_bodies::differential::response);
    }
}

#[test]
fn messages_on_one_connection_end_where_the_reference_ends_them() {
    for corpus in ["h1_stream", "h1_request_head", "h1_same_request"] {
        replay(corpus, byway_fuzz_bodies::differential::stream);
    }
}

#[test]
fn written_messages_are_read_as_the_given_parts() {
    replay("h1_written", byway_fuzz_bodies::differential::written);
}
