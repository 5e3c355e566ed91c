//! Visitor: a minimal HTTP/1.1 client.
//!
//! In:    a stream that some way opened.
//! Out:   requests; response heads, and the SHA-256 of bodies as they arrive.
//! Never: follows redirects, retries or repairs: anything unexpected is an error.

use anyhow::{Context, bail, ensure};
use byway_dial::{Read, Stream};
use byway_h1::{Parsed, ResponseParser};
use byway_head::{Framed, Limits};
use byway_http::h1::Conn;

use super::message::read_body;
use super::pattern::{Pattern, Sum};
use super::scene::{Scene, Way};

/// One connection.
pub(super) struct Visitor {
    pub(super) conn: Conn,
    /// The prefix of the path: empty, or the origin's URL for absolute form.
    prefix: String,
    host: String,
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    framed: Framed,
    fields: Vec<(String, String)>,
}

impl Answer {
    /// The first field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All fields, in their order.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }
}

impl Visitor {
    /// Enters by `way`.
    pub(super) async fn enter(scene: &Scene, way: Way) -> anyhow::Result<Self> {
        let stream = scene.enter(way).await?;
        let (prefix, host) = match way {
            Way::Edge => (String::new(), scene.at.edge.to_string()),
            Way::ExposedHttp(carrier) => (String::new(), scene.at.over(carrier).name.clone()),
            Way::Absolute | Way::DeskAbsolute(_) => (
                format!("http://{}", scene.origin.http),
                scene.origin.http.to_string(),
            ),
            _ => (String::new(), scene.origin.http.to_string()),
        };
        Ok(Self {
            conn: Conn::new(stream),
            prefix,
            host,
        })
    }

    /// Uses an open stream; `host` is for the Host field.
    pub(super) fn on(stream: Stream, host: impl ToString) -> Self {
        Self {
            conn: Conn::new(stream),
            prefix: String::new(),
            host: host.to_string(),
        }
    }

    /// Sends the head of a request; `fields` are whole lines, each with its CRLF.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
    ) -> anyhow::Result<()> {
        let head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n",
            self.prefix, self.host
        );
        self.conn.queue().extend_from_slice(head.as_bytes());
        Ok(self.conn.flush().await?)
    }

    /// Sends `bytes` bytes of the pattern.
    pub(super) async fn send_pattern(&mut self, bytes: u64) -> anyhow::Result<()> {
        let mut pattern = Pattern::new(bytes);
        while !pattern.front().is_empty() {
            let block = pattern.front();
            let n = block.len();
            self.conn.stream().write_all(block).await?;
            pattern.pass(n);
        }
        Ok(())
    }

    /// Sends FIN.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.conn.finish().await?)
    }

    /// Reads the head of the response to a request of that method; skips interim ones.
    pub(super) async fn answer(&mut self, method: &str) -> anyhow::Result<Answer> {
        loop {
            let answer = self.any_answer(method).await?;
            if answer.status == 101 || answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    async fn any_answer(&mut self, method: &str) -> anyhow::Result<Answer> {
        let mut index = ResponseParser::default();
        let n = loop {
            if let Parsed::Complete(n) = index.parse(self.conn.unread(), &Limits::default())? {
                break n;
            }
            if self.conn.fill().await? == Read::Fin {
                bail!("the connection ended before the response");
            }
        };
        let response = index.view(self.conn.unread());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = Answer {
            status: response.status(),
            framed: response.framing(method.as_bytes())?,
            fields: response
                .fields()
                .map(|field| (text(field.name), text(field.value)))
                .collect(),
        };
        self.conn.consume(n);
        Ok(answer)
    }

    /// Reads the body to its end and hashes it.
    pub(super) async fn sum(&mut self, answer: &Answer) -> anyhow::Result<Sum> {
        let mut sum = Sum::new();
        read_body(&mut self.conn, answer.framed, |data| sum.add(data))
            .await
            .with_context(|| {
                let declared = answer
                    .field("Content-Length")
                    .unwrap_or("an unknown number of");
                format!("the body ended early; {declared} bytes were announced")
            })?;
        Ok(sum)
    }

    /// Reads a short body.
    pub(super) async fn text(&mut self, answer: &Answer) -> anyhow::Result<String> {
        let mut text = Vec::new();
        read_body(&mut self.conn, answer.framed, |data| {
            let room = SHORT_BYTES.saturating_sub(text.len());
            text.extend(data.iter().take(room));
        })
        .await?;
        Ok(String::from_utf8(text)?)
    }

    /// Requests `path` and expects 200 with a short body.
    pub(super) async fn fetch(&mut self, path: &str) -> anyhow::Result<(Answer, String)> {
        self.ask("GET", path, "").await?;
        let answer = self.answer("GET").await?;
        let text = self.text(&answer).await?;
        ensure!(
            answer.status == 200,
            "GET {path}: status {}: {}",
            answer.status,
            text.trim()
        );
        Ok((answer, text))
    }

    /// Closes the connection with FIN.
    pub(super) fn leave(self) {
        self.conn.fin_on_drop();
    }
}

/// No text of the origin or of an error response is longer.
const SHORT_BYTES: usize = 64 * 1024;
