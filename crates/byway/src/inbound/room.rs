//! Room: the memory that the answering of one request takes, lent by the worker for as long as it lasts.
//!
//! In:    the future that answers a request.
//! Out:   what it says in the end.
//! Never: stays with a connection that waits for its next request, or lends out a room in which a future still lives: one
//!        that is dropped half-way is freed with it.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::sync::ReusableBoxFuture;

use super::http1::Answered;

/// Rooms that a thread keeps for reuse at most, of some 2.5 KiB each.
const KEPT: usize = 256;

thread_local! {
    static FREE: RefCell<Vec<ReusableBoxFuture<'static, Answered>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `answering` in a room.
pub(super) fn lend(answering: impl Future<Output = Answered> + Send + 'static) -> Room {
    let free = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
    Room(Some(match free {
        Some(mut room) => {
            room.set(answering);
            room
        }
        None => ReusableBoxFuture::new(answering),
    }))
}

/// See the head of the file.
pub(super) struct Room(Option<ReusableBoxFuture<'static, Answered>>);

impl Future for Room {
    type Output = Answered;

    #[allow(clippy::expect_used, reason = "a future that has said its result is not polled again")]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let answered = self.0.as_mut().expect("not polled after its end").poll(cx);
        if answered.is_ready()
            && let Some(room) = self.0.take()
        {
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < KEPT {
                    free.push(room);
                }
            });
        }
        answered
    }
}
