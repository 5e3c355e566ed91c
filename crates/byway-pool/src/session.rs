//! Session: a connection that carries many streams at once, which the pool shares between acquires.

/// A connection that carries many streams at once, such as one of HTTP/2.
///
/// The pool keeps one permit for the connection and a slot for each stream. It does no I/O: the
/// task that owns the socket holds the [`SessionGuard`](crate::SessionGuard), passes on what the
/// peer announces, and drops the guard after the socket is closed. Streams are leased to any
/// thread.
///
/// The pool calls these functions outside its locks. They must not block.
pub trait Session: Send + Sync + 'static {
    /// A stream, from before its request until its work has ended. Dropping it must not block.
    type Stream: Send + 'static;

    /// Whether it is a type without values, so that no acquire needs to look for sessions. Only
    /// for [`NoSession`].
    #[doc(hidden)]
    const IS_NONE: bool = false;

    /// Whether it takes new streams, as far as is known here. Called before each
    /// [`Session::open`]: if false, the session gets no more streams, and the acquire gets another
    /// one without losing its position. The default is true: the guard reports the end.
    fn is_open(&self) -> bool {
        true
    }

    /// A new stream, on which nothing has been sent. If the session has just ended, a stream on
    /// which nothing can be sent: its user calls
    /// [`StreamLease::refused`](crate::StreamLease::refused).
    fn open(&self) -> Self::Stream;

    /// Resets a stream: its lease was dropped without [`StreamLease::release`], for example because
    /// the request was cancelled. Its slot is freed after this call and after the stream is
    /// dropped.
    ///
    /// [`StreamLease::release`]: crate::StreamLease::release
    fn reset(&self, stream: &mut Self::Stream);

    /// The connection is no longer needed: it has no stream and will get none. Called once at most,
    /// and not if the guard was dropped before. The owner of the socket closes it and then drops the
    /// [`SessionGuard`](crate::SessionGuard), which frees the permit.
    fn close(&self);
}

/// The sessions of a pool that has none: every connection is exclusive. The default of
/// [`Pool`](crate::Pool).
#[derive(Debug, Clone, Copy)]
pub enum NoSession {}

impl Session for NoSession {
    type Stream = Self;

    const IS_NONE: bool = true;

    fn open(&self) -> Self {
        match *self {}
    }

    fn reset(&self, _: &mut Self) {
        match *self {}
    }

    fn close(&self) {
        match *self {}
    }
}
