//! Message: an HTTP/1 message as a test sees it: start line, fields, body, trailers.
//!
//! In:    a `Wire`, and whether the message is the response to a HEAD.
//! Out:   the whole message, its body without its framing.
//! Never: uses the program's own codec: a test must not share the mistakes of what it tests.

use std::fmt;

use crate::wire::{Ending, Wire};

/// A whole message.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// At an origin, the number of the connection that it was received on.
    pub connection: usize,
    /// Start line and fields, without the empty line.
    pub head: String,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Field lines after the last chunk.
    pub trailers: String,
}

impl Message {
    /// The request line or status line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The status of a response.
    #[track_caller]
    pub fn status(&self) -> u16 {
        let status = self
            .line()
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        status.unwrap_or_else(|| panic!("no status in {:?}", self.head))
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// The only value of a field; `None` if it is absent.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields(name);
        let value = values.next();
        assert!(
            values.next().is_none(),
            "{name} is present twice:\n{}",
            self.head
        );
        value
    }

    /// Every value of a field.
    pub fn fields<'m>(&'m self, name: &str) -> impl Iterator<Item = &'m str> {
        self.head.lines().skip(1).filter_map(move |line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(200)];
        write!(
            f,
            "{}\n\n{} ({} bytes)\n{}",
            self.head,
            shown.escape_ascii(),
            self.body.len(),
            self.trailers
        )
    }
}

impl Wire {
    /// Reads a head, including its empty line. `None` if the stream ended before its first byte.
    #[track_caller]
    pub fn head(&mut self) -> Option<Message> {
        if !self.fill() {
            return None;
        }
        let head = self.until(b"\r\n\r\n");
        let head = String::from_utf8_lossy(&head[..head.len() - 4]).into_owned();
        Some(Message {
            head,
            ..Message::default()
        })
    }

    /// Reads the body of a request; a request without framing has none.
    #[track_caller]
    pub fn request_body(&mut self, message: &mut Message) {
        let mut body = Vec::new();
        match Framing::of(message) {
            Framing::Chunked => message.trailers = self.chunks(|data| body.extend_from_slice(data)),
            Framing::Length(length) => {
                self.exactly_each(length, |data| body.extend_from_slice(data))
            }
            Framing::Open => {}
        }
        message.body = body;
    }

    /// Reads a request's body piece by piece, without storing it.
    #[track_caller]
    pub fn request_body_each(&mut self, message: &Message, mut take: impl FnMut(&[u8])) {
        match Framing::of(message) {
            Framing::Chunked => drop(self.chunks(take)),
            Framing::Length(length) => self.exactly_each(length, &mut take),
            Framing::Open => {}
        }
    }

    /// Reads a whole final response; skips interim ones.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Message {
        loop {
            let mut message = self
                .head()
                .expect("the connection ended without a response");
            let status = message.status();
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            if method != "HEAD" && !matches!(status, 101 | 204 | 304) {
                self.response_body(&mut message);
            }
            return message;
        }
    }

    #[track_caller]
    fn response_body(&mut self, message: &mut Message) {
        if Framing::of(message) != Framing::Open {
            return self.request_body(message);
        }
        match self.to_end() {
            (body, Ending::Fin) => message.body = body,
            (body, Ending::Reset) => panic!(
                "reset within a body that ends with the connection, after {}",
                body.len()
            ),
        }
    }

    /// Reads chunks up to the end of the trailers, and returns the trailers.
    #[track_caller]
    fn chunks(&mut self, mut take: impl FnMut(&[u8])) -> String {
        loop {
            let line = self.until(b"\r\n");
            let digits = String::from_utf8_lossy(&line)
                .trim()
                .split(';')
                .next()
                .unwrap_or_default()
                .to_owned();
            let size = u64::from_str_radix(&digits, 16)
                .unwrap_or_else(|_| panic!("{digits:?} is not a chunk size"));
            if size == 0 {
                return self.trailers();
            }
            self.exactly_each(size, &mut take);
            assert_eq!(self.exactly(2), b"\r\n", "after a chunk");
        }
    }

    #[track_caller]
    fn trailers(&mut self) -> String {
        let mut trailers = String::new();
        loop {
            let line = self.until(b"\r\n");
            if line == b"\r\n" {
                return trailers;
            }
            trailers += &String::from_utf8_lossy(&line);
        }
    }
}

#[derive(PartialEq)]
enum Framing {
    Chunked,
    Length(u64),
    Open,
}

impl Framing {
    #[track_caller]
    fn of(message: &Message) -> Self {
        let length = message.field("Content-Length");
        match message.field("Transfer-Encoding") {
            Some(coding) => {
                assert!(
                    length.is_none() && coding == "chunked",
                    "no single valid framing:\n{}",
                    message.head
                );
                Self::Chunked
            }
            None => length.map_or(Self::Open, |length| {
                Self::Length(length.parse().expect("a length"))
            }),
        }
    }
}
