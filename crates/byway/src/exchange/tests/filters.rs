//! Bodies that a filter changes: their data, their size and their framing.

use byway_dial::Broken;
use byway_http::filter::{BodyFilter, FilterError};

use crate::testing::Bench;

/// Sends each byte twice, and holds the last one back until the end.
#[derive(Default)]
struct Doubling {
    held: Option<u8>,
}

impl BodyFilter for Doubling {
    fn poll(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>) -> Result<usize, FilterError> {
        for byte in input {
            let ready = self.held.replace(*byte);
            out.extend(ready.into_iter().flat_map(|byte| [byte, byte]));
        }
        if end {
            out.extend(self.held.take().into_iter().flat_map(|byte| [byte, byte]));
        }
        Ok(input.len())
    }

    fn size(&self, of: Option<u64>) -> Option<u64> {
        of.map(|bytes| bytes * 2)
    }
}

/// Drops what is no letter, so that no size is known in advance; refuses a question mark.
struct Letters;

impl BodyFilter for Letters {
    fn poll(&mut self, input: &[u8], _end: bool, out: &mut Vec<u8>) -> Result<usize, FilterError> {
        match input.first() {
            Some(b'?') => return Err(FilterError("a question mark")),
            Some(letter) if letter.is_ascii_alphabetic() => out.push(*letter),
            _ => {}
        }
        Ok(input.len().min(1))
    }

    fn size(&self, _of: Option<u64>) -> Option<u64> {
        None
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// The head of the response, and what follows until the connection ends.
async fn response_through(
    filter: fn() -> Box<dyn BodyFilter>,
    request: &str,
    response: &str,
) -> (String, Result<String, Broken>) {
    let bench = Bench::filtered(filter);
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(request).await;
    upstream.recv_head().await;
    let sending = async {
        upstream.send(response).await;
        upstream.finish().await;
    };
    let receiving = async { (client.recv_head().await, client.recv_end().await) };
    tokio::join!(sending, receiving).1
}

#[tokio::test(start_paused = true)]
async fn a_filter_changes_the_data_and_the_length_that_is_announced() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdefghij";
    let (head, body) = response_through(|| Box::new(Doubling::default()), GET, response).await;
    assert!(head.contains("\r\nContent-Length: 20\r\n"), "{head}");
    assert_eq!(body.unwrap(), "aabbccddeeffgghhiijj");
}

#[tokio::test(start_paused = true)]
async fn a_body_whose_size_becomes_unknown_is_chunked_and_ends_with_its_trailers() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1a2";
    let (head, body) = response_through(|| Box::new(Letters), GET, response).await;
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n") && !head.contains("Content-Length"),
        "{head}"
    );
    assert_eq!(body.unwrap(), "1\r\na\r\n0\r\n\r\n");

    let response =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n1a\r\n0\r\nSum: 1\r\n\r\n";
    let (_, body) = response_through(|| Box::new(Letters), GET, response).await;
    assert_eq!(body.unwrap(), "1\r\na\r\n0\r\nSum: 1\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http_1_0_gets_a_body_of_unknown_size_until_the_connection_ends() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na1b2";
    let request = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    let (head, body) = response_through(|| Box::new(Letters), request, response).await;
    assert!(
        !head.contains("Content-Length") && !head.contains("Transfer-Encoding"),
        "{head}"
    );
    assert_eq!(body.unwrap(), "ab");
}

#[tokio::test(start_paused = true)]
async fn a_length_that_only_describes_a_body_is_not_passed_through_a_filter() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    let (head, body) = response_through(
        || Box::new(Doubling::default()),
        &GET.replace("GET", "HEAD"),
        response,
    )
    .await;
    assert!(!head.contains("Content-Length"), "{head}");
    assert_eq!(body.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_or_that_its_filter_refuses_ends_with_a_reset() {
    for body in ["abcdefgh", "abcdefgh?"] {
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{body}");
        let bench = Bench::filtered(|| Box::new(Letters));
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client.send(GET).await;
        upstream.recv_head().await;
        let sending = async {
            upstream.send(&response).await;
            upstream.finish().await;
        };
        let (received, ()) = tokio::join!(client.recv_end(), sending);
        assert!(matches!(received, Err(Broken::Reset(_))), "{received:?}");
    }
}
