//! Client: the generator's side of one HTTP/2 connection, without I/O.
//!
//! In:    received bytes.
//! Out:   bytes to send; the streams whose response has ended and is right.
//! Never: accepts a response that is not a 200 of the expected length, a reset, or a GOAWAY.

use anyhow::{Context, Result, anyhow, bail, ensure};
use byway_h2::hpack::{Decoder, TABLE_BYTES};
use byway_head::{FieldSink, Span};

use super::block::RequestBlock;
use super::frame::{Frame, FrameReader, Kind, MAX_PAYLOAD, flag, write_frame};

/// A right response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Its bytes of DATA.
    pub(crate) bytes: u64,
    /// Whether trailers with `grpc-status: 0` end it.
    pub(crate) trailers: bool,
}

/// See the top of the file.
pub(crate) struct Client {
    out: Vec<u8>,
    reader: FrameReader,
    streams: Streams,
    request: RequestBlock,
}

/// Everything but the reader, which lends its frames to it.
struct Streams {
    open: Vec<Open>,
    next: u32,
    expected: Expected,
    /// Decodes all heads of a connection with trailers, which may refer to fields of earlier ones.
    decoder: Decoder,
    head_bytes: u64,
    /// Received bytes of DATA that the peer has no credit for yet.
    owed: u32,
    /// What the peer lets this side send on the connection and on each new stream, and how many
    /// streams it allows.
    window: i64,
    stream_window: i64,
    most_streams: u32,
}

/// A stream whose response has not ended.
struct Open {
    id: u32,
    left: u64,
    head: bool,
}

/// What a client sends first (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The windows of a browser: no response of the lab fills one, so that a stream needs no credit.
const STREAM_WINDOW: u32 = 6 << 20;
const CONNECTION_WINDOW: u32 = 15 << 20;
/// The connection's window before any credit (RFC 9113 section 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;

/// Settings (RFC 9113 section 6.5.2).
mod setting {
    pub(super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(super) const ENABLE_PUSH: u16 = 2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
}

impl Client {
    /// A client that has the preface and its settings to send.
    pub(crate) fn new(request: RequestBlock, expected: Expected) -> Self {
        let mut out = PREFACE.to_vec();
        let mut settings = Vec::new();
        for (name, value) in [
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        ] {
            settings.extend(name.to_be_bytes());
            settings.extend(u32::to_be_bytes(value));
        }
        write_frame(&mut out, Kind::Settings, 0, 0, &settings);
        credit(&mut out, CONNECTION_WINDOW - DEFAULT_WINDOW);
        let streams = Streams {
            open: Vec::new(),
            next: 1,
            expected,
            decoder: Decoder::new(TABLE_BYTES),
            head_bytes: 0,
            owed: 0,
            window: DEFAULT_WINDOW.into(),
            stream_window: DEFAULT_WINDOW.into(),
            most_streams: u32::MAX,
        };
        Self {
            out,
            reader: FrameReader::default(),
            streams,
            request,
        }
    }

    /// Whether the peer's limits allow another request now.
    pub(crate) fn can_open(&self) -> bool {
        let body = self.request.body.len() as i64;
        self.streams.window >= body && self.streams.open.len() < self.streams.most_streams as usize
    }

    /// Appends a request, and returns its stream.
    pub(crate) fn open(&mut self) -> u32 {
        let id = self.streams.next;
        let (block, body) = match id {
            1 => (&self.request.first, &self.request.body),
            _ => (&self.request.later, &self.request.body),
        };
        let ends = if body.is_empty() { flag::END_STREAM } else { 0 };
        write_frame(
            &mut self.out,
            Kind::Headers,
            flag::END_HEADERS | ends,
            id,
            block,
        );
        if !body.is_empty() {
            write_frame(&mut self.out, Kind::Data, flag::END_STREAM, id, body);
        }
        self.streams.window -= body.len() as i64;
        self.streams.next += 2;
        self.streams.open.push(Open {
            id,
            left: self.streams.expected.bytes,
            head: false,
        });
        id
    }

    /// Streams whose response has not ended.
    pub(crate) const fn in_flight(&self) -> usize {
        self.streams.open.len()
    }

    /// What is to be sent. The caller clears it.
    pub(crate) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The bytes of header blocks since the last call.
    pub(crate) const fn take_head_bytes(&mut self) -> u64 {
        std::mem::replace(&mut self.streams.head_bytes, 0)
    }

    /// Takes received bytes; `ended` gets each stream whose response has ended.
    ///
    /// # Errors
    ///
    /// A response that is not the expected one, a reset stream, and the end of the connection.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut ended: impl FnMut(u32)) -> Result<()> {
        ensure!(!bytes.is_empty(), "the connection was closed");
        let (streams, out) = (&mut self.streams, &mut self.out);
        let body = self.request.body.len() as i64;
        self.reader
            .feed(bytes, |frame| streams.take(frame, out, body, &mut ended))?;
        // Half of the window: often enough that it never runs out.
        if self.streams.owed > CONNECTION_WINDOW / 2 {
            credit(&mut self.out, std::mem::take(&mut self.streams.owed));
        }
        Ok(())
    }
}

/// Appends a WINDOW_UPDATE of the connection.
fn credit(out: &mut Vec<u8>, bytes: u32) {
    write_frame(out, Kind::WindowUpdate, 0, 0, &bytes.to_be_bytes());
}

impl Streams {
    fn take(
        &mut self,
        frame: Frame<'_>,
        out: &mut Vec<u8>,
        body: i64,
        ended: &mut impl FnMut(u32),
    ) -> Result<()> {
        match frame.kind {
            Kind::Data => self.data(frame, ended),
            Kind::Headers => self.head(frame, ended),
            Kind::Settings if frame.has(flag::ACK) => Ok(()),
            Kind::Settings => {
                self.settings(frame.payload, body)?;
                write_frame(out, Kind::Settings, flag::ACK, 0, &[]);
                Ok(())
            }
            Kind::Ping => {
                if !frame.has(flag::ACK) {
                    write_frame(out, Kind::Ping, flag::ACK, 0, frame.payload);
                }
                Ok(())
            }
            Kind::WindowUpdate => {
                if frame.stream == 0 {
                    self.window += i64::from(number(frame.payload)? & 0x7fff_ffff);
                }
                Ok(())
            }
            Kind::Reset => bail!(
                "a stream was reset with error code {}",
                number(frame.payload)?
            ),
            Kind::GoAway => {
                let code = number(frame.payload.get(4..).unwrap_or_default())?;
                bail!("the connection was ended by GOAWAY with error code {code}")
            }
            Kind::PushPromise | Kind::Continuation => {
                bail!("an unexpected {:?} frame was received", frame.kind)
            }
            Kind::Priority | Kind::Other => Ok(()),
        }
    }

    fn data(&mut self, frame: Frame<'_>, ended: &mut impl FnMut(u32)) -> Result<()> {
        let n = frame.payload.len();
        self.owed += n as u32;
        let (place, open) = self.find(frame.stream)?;
        ensure!(open.head, "data was received before its head");
        open.left = open
            .left
            .checked_sub(n as u64)
            .context("more bytes were received than expected")?;
        if frame.has(flag::END_STREAM) {
            ensure!(!self.expected.trailers, "the trailers are missing");
            self.end(place, ended)?;
        }
        Ok(())
    }

    fn head(&mut self, frame: Frame<'_>, ended: &mut impl FnMut(u32)) -> Result<()> {
        ensure!(
            frame.has(flag::END_HEADERS),
            "a head of more than one frame was received"
        );
        let skipped = if frame.has(flag::PRIORITY) { 5 } else { 0 };
        let block = frame.payload.get(skipped..).unwrap_or_default();
        self.head_bytes += block.len() as u64;
        let trailers = self.expected.trailers;
        let mut fields = Fields::default();
        if trailers {
            let decoded = self.decoder.decode(block, MAX_PAYLOAD, &mut fields);
            decoded.map_err(|error| anyhow!("a head cannot be decoded: {error}"))?;
        }
        let (place, open) = self.find(frame.stream)?;
        if open.head {
            ensure!(
                trailers && frame.has(flag::END_STREAM),
                "a second head was received"
            );
            ensure!(
                fields.has(GRPC_OK),
                "the call failed: {:?}",
                String::from_utf8_lossy(&fields.0)
            );
            return self.end(place, ended);
        }
        ensure!(is_200(block), "the answer was not 200: {block:02x?}");
        open.head = true;
        if frame.has(flag::END_STREAM) {
            ensure!(!self.expected.trailers, "the trailers are missing");
            self.end(place, ended)?;
        }
        Ok(())
    }

    fn find(&mut self, stream: u32) -> Result<(usize, &mut Open)> {
        let mut all = self.open.iter_mut().enumerate();
        all.find(|(_, open)| open.id == stream)
            .with_context(|| format!("a frame of stream {stream} was received, which is not open"))
    }

    fn end(&mut self, place: usize, ended: &mut impl FnMut(u32)) -> Result<()> {
        let Open { id, left, .. } = self.open.swap_remove(place);
        ensure!(left == 0, "the answer was {left} bytes too short");
        ended(id);
        Ok(())
    }

    /// Takes the peer's settings; fails if the questions cannot be asked under them.
    fn settings(&mut self, payload: &[u8], body: i64) -> Result<()> {
        for entry in payload.chunks(6) {
            let name = entry.first_chunk().context("a setting is cut")?;
            let value = number(entry.get(2..).unwrap_or_default())?;
            match u16::from_be_bytes(*name) {
                setting::HEADER_TABLE_SIZE => ensure!(
                    value >= 4096,
                    "the program allows a table of {value} bytes of fields only"
                ),
                setting::MAX_CONCURRENT_STREAMS => self.most_streams = value,
                setting::INITIAL_WINDOW_SIZE => self.stream_window = value.into(),
                _ => {}
            }
        }
        ensure!(
            self.stream_window >= body,
            "the program lets a stream send {} bytes only",
            self.stream_window
        );
        Ok(())
    }
}

const GRPC_OK: &[u8] = b"grpc-status: 0";

/// Decoded fields: lines that end with CR LF.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn has(&self, line: &[u8]) -> bool {
        let mut lines = self.0.split(|byte| *byte == b'\n');
        lines.any(|other| other.strip_suffix(b"\r") == Some(line))
    }
}

impl FieldSink for Fields {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn field(&mut self, _: Span, _: Span) {}
}

/// The first four bytes as a number.
fn number(payload: &[u8]) -> Result<u32> {
    let bytes = payload.first_chunk().context("a frame is too short")?;
    Ok(u32::from_be_bytes(*bytes))
}

/// Whether a header block begins with `:status: 200`, entry 8 of the static table. It comes first,
/// since it is the only pseudo-field of a response; changes of the table's size may precede it.
fn is_200(mut block: &[u8]) -> bool {
    const RESIZE: u8 = 0x20;
    while let [first, rest @ ..] = block
        && first & 0xe0 == RESIZE
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let end = block.iter().position(|byte| byte & 0x80 == 0);
            block = block
                .get(end.map_or(block.len(), |end| end + 1)..)
                .unwrap_or_default();
        }
    }
    block.first() == Some(&0x88)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = &[0x88, 0x5c, 1, b'3'];

    fn client(trailers: bool) -> Client {
        let request = RequestBlock::get(3, "lab.test", true);
        let expected = Expected { bytes: 3, trailers };
        let mut client = Client::new(request, expected);
        assert_eq!(client.open(), 1);
        client.out().clear();
        client
    }

    fn frames(frames: &[(Kind, u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, flags, payload) in frames {
            let stream = u32::from(matches!(kind, Kind::Data | Kind::Headers | Kind::Reset));
            write_frame(&mut bytes, *kind, *flags, stream, payload);
        }
        bytes
    }

    fn ended(client: &mut Client, bytes: &[u8]) -> Result<Vec<u32>> {
        let mut streams = Vec::new();
        client.feed(bytes, |stream| streams.push(stream))?;
        Ok(streams)
    }

    const WHOLE: u8 = flag::END_HEADERS;

    #[test]
    fn a_right_response_ends_its_stream_once() {
        let bytes = frames(&[
            (Kind::Headers, WHOLE, HEAD),
            (Kind::Data, 0, b"ab"),
            (Kind::Data, flag::END_STREAM, b"c"),
        ]);
        let mut client = client(false);
        assert_eq!(ended(&mut client, &bytes).unwrap(), [1]);
        assert_eq!((client.in_flight(), client.take_head_bytes()), (0, 4));
        assert!(ended(&mut client, &bytes).is_err(), "the stream is closed");
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let mut client = client(false);
        let bytes = frames(&[
            (Kind::Settings, 0, &[0, 3, 0, 0, 0, 1]),
            (Kind::Ping, 0, b"12345678"),
        ]);
        ended(&mut client, &bytes).unwrap();
        let replies = frames(&[
            (Kind::Settings, flag::ACK, b""),
            (Kind::Ping, flag::ACK, b"12345678"),
        ]);
        assert_eq!(*client.out(), replies);
        assert!(!client.can_open(), "one stream is allowed, and open");
    }

    #[test]
    fn a_response_that_is_not_the_expected_one_is_an_error() {
        let head = (Kind::Headers, WHOLE, HEAD);
        let end = flag::END_STREAM;
        let wrong: [&[(Kind, u8, &[u8])]; 8] = [
            &[(Kind::Headers, WHOLE, &[0x8d])],
            &[head, (Kind::Data, end, b"ab")],
            &[head, (Kind::Data, end, b"abcd")],
            &[(Kind::Data, end, b"abc")],
            &[head, (Kind::Headers, WHOLE | end, b"")],
            &[(Kind::Headers, 0, HEAD)],
            &[(Kind::Reset, 0, &[0, 0, 0, 7])],
            &[(Kind::GoAway, 0, &[0; 8])],
        ];
        for frames_of in wrong {
            let bytes = frames(frames_of);
            assert!(ended(&mut client(false), &bytes).is_err(), "{frames_of:?}");
        }
        assert!(ended(&mut client(false), b"").is_err());
    }

    #[test]
    fn trailers_end_a_call_and_must_not_be_missing() {
        let (head, data) = ((Kind::Headers, WHOLE, HEAD), (Kind::Data, 0, &b"abc"[..]));
        let trailers = |block: &'static [u8]| (Kind::Headers, WHOLE | flag::END_STREAM, block);
        let ok = frames(&[head, data, trailers(b"\x00\x0bgrpc-status\x010")]);
        assert_eq!(ended(&mut client(true), &ok).unwrap(), [1]);
        let failed = frames(&[head, data, trailers(b"\x00\x0bgrpc-status\x0214")]);
        assert!(ended(&mut client(true), &failed).is_err());
        let bytes = frames(&[head, (Kind::Data, flag::END_STREAM, b"abc")]);
        assert!(ended(&mut client(true), &bytes).is_err());
    }

    #[test]
    fn changes_of_the_table_may_precede_the_status() {
        assert!(is_200(&[0x88]) && is_200(&[0x20, 0x88]));
        assert!(is_200(&[0x3f, 0xe1, 0x1f, 0x88]));
        assert!(!is_200(&[0x89]) && !is_200(&[]) && !is_200(&[0x3f, 0xe1]));
    }
}
