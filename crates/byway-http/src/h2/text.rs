//! Text: heads that a connection has decoded, in memory of their own.

use byway_head::{Request, RequestHead, Response, ResponseHead};

use crate::scratch::{Scratch, ScratchBytes};

/// The head of a request: its text, and the index over it.
#[derive(Debug)]
pub struct RequestText {
    pub(crate) index: Scratch<RequestHead>,
    pub(crate) text: Scratch<ScratchBytes>,
}

/// The head of a response.
#[derive(Debug)]
pub(super) struct ResponseText {
    pub(super) index: Scratch<ResponseHead>,
    pub(super) text: Scratch<ScratchBytes>,
}

impl RequestText {
    pub(crate) fn take() -> Self {
        Self {
            index: Scratch::take(),
            text: Scratch::take(),
        }
    }

    /// The request.
    pub fn view(&self) -> Request<'_> {
        self.index.view(&self.text.0)
    }
}

impl ResponseText {
    pub(super) fn take() -> Self {
        Self {
            index: Scratch::take(),
            text: Scratch::take(),
        }
    }

    pub(super) fn view(&self) -> Response<'_> {
        self.index.view(&self.text.0)
    }
}
