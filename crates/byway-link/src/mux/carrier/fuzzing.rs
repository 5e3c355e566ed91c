//! Fuzzing: a carrier that is driven by a script of peer input and of calls of the streams' owners.
//!
//! In:    any bytes, read as a script.
//! Out:   nothing, or a panic that is a finding.
//! Never: a socket, a task, or more memory than the carrier takes by itself.
//!
//! The first byte holds the side (bit 0), how many streams the peer may have (bits 1 to 3), and
//! whether the carrier ends after its streams (bit 4). Then follow steps, a byte each, modulo 11:
//!
//! ```text
//!  0 LENGTH(2) BYTES  the peer sends BYTES
//!  1                  the peer closes its side
//!  2 ARG              open, with ARG bytes
//!  3                  accept
//!  4 ARG              write ARG/8 KiB to stream ARG mod 8 of those that are held
//!  5 ARG              read the same amount from it
//!  6 ARG              finish it
//!  7 ARG              reset it, with the code ARG
//!  8 ARG              release it, in order if ARG is 128 or more
//!  9 ARG              the peer makes room for ARG/8 KiB of output
//! 10 ARG              the peer sends ARG/8 KiB on the stream of the number ARG mod 8
//! ```

use std::collections::HashMap;
use std::task::Waker;

use super::super::frame::FrameKind;
use super::*;
use crate::fair_budget::Limits;
use crate::window::INITIAL_BYTES;

/// Runs a script.
///
/// # Panics
/// If an invariant of the mux is violated.
pub fn mux(data: &[u8]) {
    let mut script = Script(data);
    let first = script.byte().unwrap_or_default();
    let side = if first & 1 == 0 {
        Side::Dialler
    } else {
        Side::Acceptor
    };
    let budget = FairBudget::node(Limits::both(1 << 20));
    let wire = Arc::new(Mutex::new(Wire::default()));
    let (carrier, control, driver) =
        MuxCarrier::new(Io(Arc::clone(&wire)), side, Arc::clone(&budget));
    carrier.admit(u32::from(first >> 1) & 7);
    let mut held = vec![control];
    let mut driver = Some(Box::pin(driver));
    let mut sent_frames = SentFrames {
        side,
        ..SentFrames::default()
    };
    while let Some(step) = script.byte() {
        act(step, &mut script, &carrier, &mut held, &wire);
        // Twice: the first poll may stop at its bound.
        for _ in 0..2 {
            let Some(driving) = &mut driver else { break };
            if driving.as_mut().poll(&mut idle()).is_ready() {
                driver = None;
            }
        }
        carrier.0.lock().assert_sound();
        sent_frames.check(&mut wire.lock());
    }
    while let Poll::Ready(Some(stream)) = carrier.with(|core| core.poll_accept(&idle())) {
        held.push(MuxStream {
            carrier: carrier.clone(),
            stream,
            orderly: false,
        });
    }
    // The carrier ends before its streams do, or after them.
    if first & 16 == 0 {
        drop(driver);
        drop(held);
    } else {
        drop(held);
        drop(driver);
    }
    carrier.0.lock().assert_empty();
    assert_eq!(budget.used(), 0, "windows are left");
}

fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next `n` bytes, or what is left.
    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

fn act(
    step: u8,
    script: &mut Script<'_>,
    carrier: &MuxCarrier,
    held: &mut Vec<MuxStream>,
    wire: &Mutex<Wire>,
) {
    let step = step % 11;
    if step == 0 {
        let length = [script.byte(), script.byte()].map(Option::unwrap_or_default);
        return wire
            .lock()
            .send(script.bytes(u16::from_be_bytes(length).into()));
    }
    if step == 1 {
        wire.lock().ended = true;
        return;
    }
    if step == 3 {
        if let Poll::Ready(Some(stream)) = carrier.with(|core| core.poll_accept(&idle())) {
            held.push(MuxStream {
                carrier: carrier.clone(),
                stream,
                orderly: false,
            });
        }
        return;
    }
    let arg = script.byte().unwrap_or_default();
    let amount = usize::from(arg >> 3) * 1024 + 1;
    if step == 2 {
        held.extend(carrier.open(&vec![arg; arg.into()]));
    } else if step == 9 {
        wire.lock().room += amount;
    } else if step == 10 {
        // A short step, so that few bytes of a script fill a window.
        let header = Header {
            kind: FrameKind::Data,
            stream: u32::from(arg & 7),
            length: amount,
        };
        wire.lock()
            .send(&[header.encode().as_slice(), &vec![arg; amount]].concat());
    } else if !held.is_empty() {
        let index = usize::from(arg & 7) % held.len();
        on_stream(step, arg, amount, index, held);
    }
}

fn on_stream(step: u8, arg: u8, amount: usize, index: usize, held: &mut Vec<MuxStream>) {
    let stream = &held[index];
    match step {
        4 => {
            let _ = stream.poll_write(
                &idle(),
                &[IoSlice::new(&vec![arg; amount]), IoSlice::new(b"and more")],
            );
        }
        5 => {
            let _ = stream.poll_read(&idle(), &mut vec![0; amount]);
            let _ = stream.poll_broken(&idle());
        }
        6 => {
            let _ = stream.finish();
        }
        7 => stream.reset(arg.into()),
        _ => {
            let mut stream = held.swap_remove(index);
            if arg >= 128 {
                stream.close_on_drop();
            }
        }
    }
}

/// The connection between the carrier and its peer.
#[derive(Default)]
struct Wire {
    input: VecDeque<u8>,
    ended: bool,
    /// How many more bytes the peer accepts.
    room: usize,
    output: Vec<u8>,
    /// What was sent and not parsed yet.
    unparsed: Vec<u8>,
    granted: HashMap<u32, u64>,
}

impl Wire {
    fn send(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        self.input.extend(bytes);
        self.unparsed.extend_from_slice(bytes);
        while let Some((header, payload)) = next_frame(&mut self.unparsed) {
            if header.kind == FrameKind::Credit {
                let bytes = payload
                    .first_chunk::<4>()
                    .map_or(0, |bytes| u32::from_be_bytes(*bytes));
                *self.granted.entry(header.stream).or_default() += u64::from(bytes);
            }
        }
    }
}

/// Removes a complete frame from the front of `bytes`; `None` if there is none or it is invalid.
fn next_frame(bytes: &mut Vec<u8>) -> Option<(Header, Vec<u8>)> {
    let header = Header::decode(*bytes.first_chunk()?).ok()?;
    let length = HEADER_BYTES + header.length;
    if bytes.len() < length {
        return None;
    }
    let rest = bytes.split_off(length);
    let frame = std::mem::replace(bytes, rest);
    Some((
        header,
        frame.get(HEADER_BYTES..).unwrap_or_default().to_vec(),
    ))
}

/// What the carrier has sent, to check that it was allowed.
struct SentFrames {
    side: Side,
    opened: u32,
    sent: HashMap<u32, u64>,
    over: HashMap<u32, FrameKind>,
}

impl Default for SentFrames {
    fn default() -> Self {
        Self {
            side: Side::Dialler,
            opened: 0,
            sent: HashMap::new(),
            over: HashMap::new(),
        }
    }
}

impl SentFrames {
    fn check(&mut self, wire: &mut Wire) {
        while let Some((header, payload)) = next_frame(&mut wire.output) {
            let Header { kind, stream, .. } = header;
            if kind == FrameKind::Open {
                let parity = if self.side == Side::Dialler { 1 } else { 0 };
                assert!(
                    stream > self.opened && stream % 2 == parity,
                    "stream {stream} is not ours to open now"
                );
                self.opened = stream;
            }
            if matches!(kind, FrameKind::Data | FrameKind::Fin | FrameKind::Reset) {
                assert_eq!(
                    self.over.get(&stream),
                    None,
                    "a {kind:?} of stream {stream}, which had ended"
                );
            }
            if matches!(kind, FrameKind::Fin | FrameKind::Reset) {
                self.over.insert(stream, kind);
            }
            if matches!(kind, FrameKind::Open | FrameKind::Data) {
                let sent = self.sent.entry(stream).or_default();
                *sent += payload.len() as u64;
                let granted = wire.granted.get(&stream).copied().unwrap_or_default();
                assert!(
                    *sent <= u64::from(INITIAL_BYTES) + granted,
                    "stream {stream} sends beyond its credit"
                );
            }
        }
        if let Some(header) = wire.output.first_chunk::<HEADER_BYTES>() {
            assert!(
                Header::decode(*header).is_ok(),
                "the carrier sent an invalid frame"
            );
        }
    }
}

struct Io(Arc<Mutex<Wire>>);

impl Transport for Io {}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        if wire.input.is_empty() && !wire.ended {
            return Poll::Pending;
        }
        let n = buf.remaining().min(wire.input.len());
        buf.put_slice(&wire.input.drain(..n).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock();
        let n = bytes.len().min(wire.room);
        if n == 0 {
            return Poll::Pending;
        }
        wire.room -= n;
        wire.output
            .extend_from_slice(bytes.get(..n).unwrap_or_default());
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
