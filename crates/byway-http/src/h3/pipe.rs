//! Pipe: a request stream as a stream of bytes, for tunnels (RFC 9114 section 4.4, RFC 9220).
//!
//! The end of a side is FIN, RESET_STREAM and STOP_SENDING are a reset. Their codes are those of
//! HTTP/3 alone: none passes on.

use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Pipe, Read};
use byway_h3::ErrorCode;

use super::stream::H3Stream;
use crate::body::{Sink, Source};

impl Pipe for H3Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        loop {
            let front = self.data();
            if !front.is_empty() {
                let n = front.len().min(buf.len());
                let (Some(from), Some(to)) = (front.get(..n), buf.get_mut(..n)) else {
                    return Poll::Ready(Ok(Read::Data(0)));
                };
                to.copy_from_slice(from);
                self.taken(n);
                return Poll::Ready(Ok(Read::Data(n)));
            }
            if self.incoming.has_ended {
                return Poll::Ready(Ok(Read::Fin));
            }
            ready!(self.poll_piece(cx)).map_err(without_code)?;
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        let mut written = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match self.poll_send(cx, buf) {
                Poll::Ready(Ok(n)) => {
                    written += n;
                    if n < buf.len() {
                        break;
                    }
                }
                Poll::Ready(Err(broken)) if written == 0 => {
                    return Poll::Ready(Err(without_code(broken)));
                }
                Poll::Pending if written == 0 => return Poll::Pending,
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Self::poll_flush(self, cx).map_err(without_code)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // There are no trailers that cannot be written.
        let _ = self.end(std::iter::empty());
        Self::poll_flush(self, cx).map_err(without_code)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        Self::poll_broken(self, cx).map(without_code)
    }

    fn reset(&mut self, _code: u32) {
        Self::reset(self, ErrorCode::CONNECT_ERROR);
    }

    fn close_on_drop(&mut self) {
        Self::close_on_drop(self);
    }
}

fn without_code(broken: Broken) -> Broken {
    match broken {
        Broken::Reset(_) => Broken::Reset(0),
        broken => broken,
    }
}
