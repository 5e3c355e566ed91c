//! Memory: after the first heads, decoding and encoding allocate nothing.

use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
use byway_head::{Framed, HeadOut, Limits, RequestBuilder, RequestHead, Version};

fn write_request(out: &mut HeadWriter<'_>, n: u32) {
    let path = [b"/path/", &n.to_be_bytes().map(|byte| b'a' + byte % 26)[..]];
    let mut target = [0; 10];
    target[..6].copy_from_slice(path[0]);
    target[6..].copy_from_slice(path[1]);
    out.request(b"GET", &target, b"example.com").unwrap();
    out.field(b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64)")
        .unwrap();
    out.field(b"Accept", b"text/html,application/xhtml+xml")
        .unwrap();
    out.field(b"Cookie", b"session=0123456789abcdef0123456789abcdef")
        .unwrap();
    out.field(b"X-Request-Id", &target[6..]).unwrap();
    // A name of its own, so that entries are evicted.
    out.field(&target[6..], b"value").unwrap();
    out.list(b"Vary", [&b"accept-encoding"[..], b"origin"])
        .unwrap();
    out.framing(Framed::Length(u64::from(n)));
    out.end();
}

#[test]
fn usual_heads_are_written_and_read_without_allocations() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(TABLE_BYTES));
    let (mut head, mut text, mut block) = (RequestHead::default(), Vec::new(), Vec::new());
    let limits = Limits::default();
    let mut pass = |n| {
        block.clear();
        write_request(&mut HeadWriter::new(&mut encoder, &mut block), n);
        text.clear();
        let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
        decoder.decode(&block, 1 << 18, &mut builder).unwrap();
        builder.finish(false).unwrap();
        assert_eq!(head.view(&text).framing(), Framed::Length(u64::from(n)));
    };
    (0..1000).for_each(&mut pass);
    let info = allocation_counter::measure(|| (1000..3000).for_each(&mut pass));
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_new_decoder_and_encoder_hold_no_memory() {
    let info = allocation_counter::measure(|| {
        let _ = (Encoder::default(), Decoder::new(TABLE_BYTES));
    });
    assert_eq!(info.count_total, 0);
}
