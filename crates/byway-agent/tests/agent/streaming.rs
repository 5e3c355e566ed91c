//! Bodies that stream, in both directions at once.

use bytes::Bytes;
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel as bounded};

/// A body that a test feeds while it is sent.
pub struct Fed(Receiver<Frame<Bytes>>);

/// The feeding end; dropping it ends the body.
pub struct Source(Sender<Frame<Bytes>>);

pub fn channel() -> (Fed, Source) {
    let (sender, receiver) = bounded(16);
    (Fed(receiver), Source(sender))
}

impl Source {
    pub async fn send(&mut self, data: Bytes) {
        self.0.send(Frame::data(data)).await.ok();
    }

    pub async fn send_trailers(&mut self, trailers: http::HeaderMap) {
        self.0.send(Frame::trailers(trailers)).await.ok();
    }
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
