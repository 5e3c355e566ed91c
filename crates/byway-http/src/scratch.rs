//! Scratch: small reusable memory that a message needs while it passes, taken from the worker and
//! returned afterwards.
//!
//! In:    a type whose memory is worth keeping: an index over a head, a queue of bytes.
//! Out:   an empty one; dropping it returns it to the thread it is dropped on.
//! Never: stays with an idle connection, and never lets a thread keep more than [`KEPT`] of one
//!        kind.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use byway_h1::RequestParser;
use byway_head::{RequestHead, ResponseHead};

use crate::h1::ClientMessage;
use crate::h2::KeptHead;

/// How many of one kind a thread keeps at most.
pub const KEPT: usize = 256;

/// What can be reused once it is empty.
pub trait Reusable: Default + 'static {
    /// Clears it and keeps its memory, unless that has grown too large.
    fn empty(&mut self);

    /// The thread's list of such memory; `None` when the thread is ending.
    fn with_free<R>(use_list: impl FnOnce(&mut Vec<Box<Self>>) -> R) -> Option<R>;
}

/// Reusable memory for one message, taken from the current thread. Dropping it clears it and
/// returns it to the thread on which it is dropped, which keeps at most `KEPT` of each type.
#[derive(Debug)]
pub struct Scratch<T: Reusable> {
    memory: Option<Box<T>>,
}

impl<T: Reusable> Scratch<T> {
    /// An empty one, from the thread's list if possible.
    pub fn take() -> Self {
        Self {
            memory: Some(T::with_free(Vec::pop).flatten().unwrap_or_default()),
        }
    }
}

impl<T: Reusable> Deref for Scratch<T> {
    type Target = T;

    #[allow(clippy::unwrap_used, reason = "only the drop takes it out")]
    fn deref(&self) -> &T {
        self.memory.as_ref().unwrap()
    }
}

impl<T: Reusable> DerefMut for Scratch<T> {
    #[allow(clippy::unwrap_used, reason = "only the drop takes it out")]
    fn deref_mut(&mut self) -> &mut T {
        self.memory.as_mut().unwrap()
    }
}

impl<T: Reusable> Drop for Scratch<T> {
    fn drop(&mut self) {
        let Some(mut memory) = self.memory.take() else {
            return;
        };
        memory.empty();
        let _ = T::with_free(|free| {
            if free.len() < KEPT {
                free.push(memory);
            }
        });
    }
}

/// Memory that a long head or response has grown beyond this is not kept.
const KEPT_BYTES: usize = 4 * 1024;

/// Bytes: a copy of a head, or a send queue.
#[derive(Debug, Default)]
pub struct ScratchBytes(pub Vec<u8>);

macro_rules! recycle {
    ($kind:ty, $empty:expr) => {
        impl Reusable for $kind {
            fn empty(&mut self) {
                let empty: fn(&mut Self) = $empty;
                empty(self);
            }

            fn with_free<R>(use_list: impl FnOnce(&mut Vec<Box<Self>>) -> R) -> Option<R> {
                thread_local! {
                    static FREE: RefCell<Vec<Box<$kind>>> = const { RefCell::new(Vec::new()) };
                }
                FREE.try_with(|free| use_list(&mut free.borrow_mut())).ok()
            }
        }
    };
}

recycle!(RequestParser, |head| head.clear());
recycle!(RequestHead, |head| head.clear());
recycle!(ResponseHead, |head| head.clear());
recycle!(KeptHead, |head| head.clear());
recycle!(ClientMessage, |message| message.clear());
recycle!(ScratchBytes, |bytes| {
    bytes.0.clear();
    bytes.0.shrink_to(KEPT_BYTES);
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_memory_is_reused_empty() {
        let mut bytes = Scratch::<ScratchBytes>::take();
        bytes.0.extend_from_slice(b"of another message");
        let memory = bytes.0.as_ptr();
        drop(bytes);
        let again = Scratch::<ScratchBytes>::take();
        assert!(again.0.is_empty());
        assert_eq!(again.0.as_ptr(), memory);
    }

    #[test]
    fn a_thread_keeps_no_more_than_its_bound_and_nothing_large() {
        let mut many: Vec<_> = (0..2 * KEPT)
            .map(|_| Scratch::<ScratchBytes>::take())
            .collect();
        many.iter_mut().for_each(|bytes| bytes.0.reserve(1 << 20));
        drop(many);
        let kept = ScratchBytes::with_free(|free| {
            (
                free.len(),
                free.iter().map(|bytes| bytes.0.capacity()).max(),
            )
        });
        assert!(
            matches!(kept, Some((KEPT, Some(..=KEPT_BYTES)))),
            "{kept:?}"
        );
    }
}
