//! Grpc origin: a gRPC service over HTTP/2 with prior knowledge, with as little work per call as
//! possible.
//!
//! In:    unary calls of any method; their messages are read and not inspected.
//! Out:   for each call a message of a fixed length and `grpc-status: 0`.
//! Never: answers before the whole call has arrived; a call that is not of the lab's form ends the
//!        connection.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::load::http2::{Frame, FrameReader, Kind, PREFACE, flag, write_frame};
use crate::load::wire::Wire;

/// The length of the message of each response.
pub(crate) const MESSAGE_BYTES: u32 = 128;
/// The five bytes before a message: not compressed, and its length.
pub(crate) const PREFIX_BYTES: u32 = 5;

/// A running service. Dropping it ends it.
pub(crate) struct GrpcOrigin {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl GrpcOrigin {
    /// Starts it on a free port of 127.0.0.1, on the thread of the load generator.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("opening the port of the gRPC service")?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while serving.try_join_next().is_some() {}
                serving.spawn(async {
                    // The program notices the end of the connection; its calls then fail.
                    let _ = serve(stream).await;
                });
            }
        });
        Ok(Self {
            address,
            _accepting: accepting,
        })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut service) = (FrameReader::default(), Service::new());
    let mut preface = PREFACE;
    loop {
        let open = stream
            .read(|bytes| {
                let (begin, frames) = bytes.split_at(bytes.len().min(preface.len()));
                let rest = preface.strip_prefix(begin).context("this is not HTTP/2")?;
                preface = rest;
                reader.feed(frames, |frame| service.take(frame))?;
                anyhow::Ok(!bytes.is_empty())
            })
            .await??;
        if !open {
            return Ok(());
        }
        service.answer();
        if !service.out.is_empty() {
            stream.send(&service.out).await?;
            service.out.clear();
        }
    }
}

/// One connection without I/O.
struct Service {
    out: Vec<u8>,
    /// Whole calls without a response, in their order.
    waiting: Vec<u32>,
    /// Received bytes of DATA that the peer has no credit for yet.
    owed: u32,
    /// What the peer lets this side send on the connection.
    window: i64,
    message: Vec<u8>,
}

/// `:status: 200` and the content type, without the dynamic table.
const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";
/// Credit is returned in pieces of this size, half of the default window.
const CREDIT_BYTES: u32 = 32 << 10;

impl Service {
    fn new() -> Self {
        let mut out = Vec::new();
        write_frame(&mut out, Kind::Settings, 0, 0, &[]);
        let mut message = vec![0];
        message.extend(MESSAGE_BYTES.to_be_bytes());
        message.resize((PREFIX_BYTES + MESSAGE_BYTES) as usize, b'.');
        Self {
            out,
            waiting: Vec::new(),
            owed: 0,
            window: 65_535,
            message,
        }
    }

    fn take(&mut self, frame: Frame<'_>) -> Result<()> {
        match frame.kind {
            Kind::Headers => ensure!(
                frame.has(flag::END_HEADERS) && !frame.has(flag::END_STREAM),
                "a call has a head of one frame, and a message"
            ),
            Kind::Data => {
                self.owed += frame.payload.len() as u32;
                if frame.has(flag::END_STREAM) {
                    self.waiting.push(frame.stream);
                }
            }
            Kind::Settings if !frame.has(flag::ACK) => {
                write_frame(&mut self.out, Kind::Settings, flag::ACK, 0, &[]);
            }
            Kind::Ping if !frame.has(flag::ACK) => {
                write_frame(&mut self.out, Kind::Ping, flag::ACK, 0, frame.payload);
            }
            Kind::WindowUpdate if frame.stream == 0 => {
                let bytes = frame
                    .payload
                    .first_chunk()
                    .context("a frame is too short")?;
                self.window += i64::from(u32::from_be_bytes(*bytes) & 0x7fff_ffff);
            }
            Kind::Reset => self.waiting.retain(|stream| *stream != frame.stream),
            Kind::Continuation => ensure!(false, "a head has one frame"),
            _ => {}
        }
        Ok(())
    }

    /// Answers the waiting calls, as far as the window goes.
    fn answer(&mut self) {
        let length = self.message.len() as i64;
        let most = usize::try_from(self.window / length).unwrap_or_default();
        for stream in self.waiting.drain(..self.waiting.len().min(most)) {
            let out = &mut self.out;
            write_frame(out, Kind::Headers, flag::END_HEADERS, stream, HEAD);
            write_frame(out, Kind::Data, 0, stream, &self.message);
            let ends = flag::END_HEADERS | flag::END_STREAM;
            write_frame(out, Kind::Headers, ends, stream, TRAILERS);
            self.window -= length;
        }
        if self.owed >= CREDIT_BYTES {
            let bytes = std::mem::take(&mut self.owed).to_be_bytes();
            write_frame(&mut self.out, Kind::WindowUpdate, 0, 0, &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::http2::multiplexed::Multiplexed;
    use crate::load::http2::{Expected, RequestBlock};
    use crate::load::reach::Reach;

    #[tokio::test]
    async fn calls_are_answered_beyond_the_first_window() {
        let origin = GrpcOrigin::start().await.unwrap();
        let load = Multiplexed {
            origin: origin.address(),
            connections: 1,
            streams: 1,
            request: RequestBlock::grpc(MESSAGE_BYTES, "lab.test", false),
            expected: Expected {
                bytes: (PREFIX_BYTES + MESSAGE_BYTES).into(),
                trailers: true,
            },
            tls: None,
            window: Duration::from_millis(1),
        };
        let mut http2 = load.open(Reach::Plain(origin.address())).await.unwrap();
        for _ in 0..2000 {
            http2.ask().await.unwrap();
        }
    }
}
