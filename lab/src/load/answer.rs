//! Answer: parses responses just enough to check that they are right and to find where they end.
//!
//! In:    bytes as they arrive.
//! Out:   whether the response has ended; an error if it is not a 200 of the expected length.
//! Never: copies a head that arrives in one piece.

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use crate::origin::content_length;

/// The response that is being read.
pub(crate) struct Answer {
    /// A head that has arrived in part.
    head: Vec<u8>,
    expected: u64,
    left: Option<u64>,
    /// Bytes of the heads so far.
    head_bytes: u64,
}

impl Answer {
    /// A parser for responses whose body must have `expected` bytes.
    pub(crate) const fn expecting(expected: u64) -> Self {
        Self {
            head: Vec::new(),
            expected,
            left: None,
            head_bytes: 0,
        }
    }

    /// The bytes of the heads since the last call.
    pub(crate) const fn take_head_bytes(&mut self) -> u64 {
        std::mem::replace(&mut self.head_bytes, 0)
    }

    /// Takes the next bytes. `true`: the response has ended, and the next one may begin.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<bool> {
        ensure!(
            !bytes.is_empty(),
            "the connection was closed within a response"
        );
        let left = match self.left {
            Some(left) => Some(less(left, bytes.len())?),
            None if self.head.is_empty() => self.begin(bytes)?,
            None => {
                let mut head = std::mem::take(&mut self.head);
                head.extend_from_slice(bytes);
                self.begin(&head)?
            }
        };
        self.left = left.filter(|left| *left > 0);
        Ok(left == Some(0))
    }

    /// Finds the end of the head; the rest is body. `None`: the head is not complete.
    fn begin(&mut self, bytes: &[u8]) -> Result<Option<u64>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            self.head = bytes.to_vec();
            return Ok(None);
        };
        let (head, body) = bytes.split_at(end + 4);
        if !head.starts_with(b"HTTP/1.1 200 ") {
            bail!(
                "the answer was {:?}",
                String::from_utf8_lossy(head)
                    .lines()
                    .next()
                    .unwrap_or_default()
            );
        }
        let length = content_length(head).context("the answer has no Content-Length")?;
        ensure!(
            length == self.expected,
            "the answer is {length} bytes long instead of {}",
            self.expected
        );
        self.head_bytes += head.len() as u64;
        less(length, body.len()).map(Some)
    }
}

fn less(left: u64, n: usize) -> Result<u64> {
    left.checked_sub(n as u64)
        .context("more bytes were received than the answer announced")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";

    #[test]
    fn a_response_is_read_at_every_split_into_two() {
        for at in 1..WHOLE.len() {
            let mut answer = Answer::expecting(3);
            assert!(!answer.feed(&WHOLE[..at]).unwrap(), "{at}");
            assert!(answer.feed(&WHOLE[at..]).unwrap(), "{at}");
            assert_eq!(answer.take_head_bytes(), WHOLE.len() as u64 - 3);
        }
    }

    #[test]
    fn several_responses_on_a_connection_are_read_one_after_the_other() {
        let mut answer = Answer::expecting(3);
        for _ in 0..3 {
            let ended: Vec<bool> = WHOLE
                .iter()
                .map(|byte| answer.feed(&[*byte]).unwrap())
                .collect();
            assert_eq!(ended.iter().position(|ended| *ended), Some(WHOLE.len() - 1));
        }
    }

    #[test]
    fn a_response_that_is_not_the_expected_one_is_an_error() {
        for wrong in [
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nabc".as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
            b"",
        ] {
            assert!(Answer::expecting(3).feed(wrong).is_err());
        }
    }
}
