//! Stream: one ordered, bidirectional byte stream that distinguishes FIN, reset and session loss.
//!
//! In:    a connected socket, a TLS session over another stream, or any other [`Pipe`] (such as a
//!        link's stream).
//! Out:   bytes, and how each direction ended.
//! Never: turns a drop into a FIN. A stream that is dropped before [`Stream::finish`] resets its
//!        peer, so that a cancelled task cannot look like a finished upload.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::unconstrained;
use tokio_rustls::TlsStream;

pub mod meter;
mod raw;
mod unacknowledged;

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The number of bytes written to the front of the buffer (at least one, unless the buffer is
    /// empty).
    Data(usize),
    /// The peer has finished sending; the other direction stays open.
    Fin,
}

/// How a stream broke. Both directions are closed.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The peer reset the stream, with its code (0 where the protocol has no codes, as in TCP).
    #[error("the peer reset the connection")]
    Reset(u32),
    /// The session that carried the stream is lost, with all its streams.
    #[error("the link that carried the connection was lost")]
    SessionLost,
    /// Any other failure of the socket or of TLS.
    #[error("{}", crate::tls::without_jargon(&.0.to_string()))]
    Io(#[source] io::Error),
}

impl From<io::Error> for Broken {
    /// A `Broken` that passed through a layer of plain I/O (TLS) is restored.
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(broken) => return broken,
            Err(error) => error,
        };
        match error.kind() {
            // A shutdown returns NotConnected after a reset has closed the socket.
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected => Self::Reset(0),
            _ => Self::Io(error),
        }
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Io(error) => error,
            broken => Self::new(io::ErrorKind::ConnectionReset, broken),
        }
    }
}

/// The operations of a stream. Implemented here for sockets and TLS, elsewhere for link streams and
/// test doubles.
///
/// Every `poll_*` is cancel safe: nothing is lost when the caller stops polling.
pub trait Pipe: Send {
    /// Reads into `buf`. After [`Read::Fin`] every further read returns `Fin` again.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>>;

    /// Writes some of `bufs`, in order, and returns the number of bytes accepted.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>>;

    /// Flushes the pipe's own buffer. Sockets buffer nothing.
    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    /// Sends FIN after everything that was written. The other direction stays open.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Resolves once the peer has reset or the session is lost, *even without a reader and with
    /// unread bytes*. A FIN never resolves it. It is for a direction whose reads are paused; a
    /// reader gets the reset from its read.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken>;

    /// Aborts the stream without a FIN: the peer sees a reset, with `code` where the protocol has
    /// codes. Idempotent; dropping does the same with code 0, unless FIN was sent or
    /// [`Pipe::close_on_drop`] was called.
    fn reset(&mut self, code: u32);

    /// Makes the drop an orderly close (written bytes are sent, then FIN) instead of a reset.
    fn close_on_drop(&mut self);

    /// Makes the drop a reset again, until FIN is sent: for a stream that is used again after
    /// [`Pipe::close_on_drop`]. The default does nothing, for pipes that are used once.
    fn reset_on_drop(&mut self) {}

    /// Counts the memory that it shares with other streams for another client from now on: a number
    /// that is equal for the streams of one client, and 0 if the client is not known. Sockets share
    /// none.
    fn count_for(&mut self, _client: u64) {}

    /// Called after a write or [`Pipe::poll_broken`] has failed: whether reads still return
    /// everything that the peer sent before the failure, and then `Fin` only if the peer's FIN came
    /// before the failure.
    fn is_still_readable(&self) -> bool {
        false
    }

    /// Whether the peer has acknowledged everything that was written, including the FIN. `None` if
    /// unknown.
    fn is_acknowledged(&self) -> Option<bool> {
        None
    }

    /// The peer's address, if there is one.
    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// The local address, if there is one.
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

/// One open byte stream over any transport. See [`Pipe`] for the meaning of each operation.
pub struct Stream(StreamKind);

/// The known kinds are matched directly, so that a relay can use the socket beneath (splice); any
/// other pipe is boxed.
enum StreamKind {
    Tcp(Tcp),
    Unix(Unix),
    Tls(Box<Tls>),
    Other(Box<dyn Pipe>),
}

impl Stream {
    /// A connected TCP socket. Sets TCP_NODELAY: a relay must not add Nagle's delay to the peer's
    /// own.
    pub fn tcp(socket: TcpStream) -> Self {
        // The failure is ignored: the socket works without the option, and a dead one fails at the
        // first read.
        let _ = socket.set_nodelay(true);
        Self::of_tcp(socket)
    }

    /// A TCP socket that was accepted from a listener with TCP_NODELAY. On Linux it inherits the
    /// option, which saves a system call for each connection; elsewhere it is set here.
    pub fn accepted_tcp(socket: TcpStream) -> Self {
        if cfg!(target_os = "linux") {
            Self::of_tcp(socket)
        } else {
            Self::tcp(socket)
        }
    }

    fn of_tcp(socket: TcpStream) -> Self {
        let failure = Failure::None;
        Self(StreamKind::Tcp(Tcp {
            io: Arc::new(socket),
            watch: None,
            broken: false,
            failure,
            ending: Ending::Open,
        }))
    }

    /// A connected Unix socket. It cannot carry a reset: a drop before FIN is a plain close.
    pub fn unix(socket: UnixStream) -> Self {
        Self(StreamKind::Unix(Unix {
            io: socket,
            ending: Ending::Open,
        }))
    }

    /// A TLS session, in either role, whose records travel over another stream.
    pub fn tls(session: TlsStream<AsIo>) -> Self {
        Self(StreamKind::Tls(Box::new(Tls {
            io: session,
            finished: false,
        })))
    }

    /// Any other pipe.
    pub fn other(pipe: Box<dyn Pipe>) -> Self {
        Self(StreamKind::Other(pipe))
    }

    /// Reads some bytes or the FIN. Cancel safe.
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<Read, Broken> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Writes all of `bytes` and flushes. Not cancel safe: a cancelled call may have written a
    /// part.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(bytes)])).await?;
            if written == 0 {
                return Err(Broken::Io(io::ErrorKind::WriteZero.into()));
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends FIN after everything written. Cancel safe: call again to continue.
    pub async fn finish(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// The plain TCP socket beneath, if there is no other layer (TLS, link).
    pub fn as_tcp(&self) -> Option<&TcpStream> {
        match &self.0 {
            StreamKind::Tcp(tcp) => Some(&tcp.io),
            _ => None,
        }
    }

    /// As [`Stream::as_tcp`], for a caller that reads the socket by other means and so gets a reset
    /// from its read, as with [`Pipe::poll_read`]. `None` also once the stream is broken.
    pub fn tcp_to_read(&mut self) -> Option<&TcpStream> {
        match &mut self.0 {
            StreamKind::Tcp(tcp) if !tcp.broken => {
                tcp.watch = None;
                Some(&tcp.io)
            }
            _ => None,
        }
    }

    /// A meter of the plain TCP socket beneath, if there is no other layer. It does not keep the
    /// socket open.
    pub fn tcp_meter(&self) -> Option<meter::TcpMeter> {
        match &self.0 {
            StreamKind::Tcp(tcp) => Some(meter::TcpMeter::new(&tcp.io)),
            _ => None,
        }
    }

    /// The application protocol negotiated in the TLS handshake (ALPN, RFC 7301), if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.0 {
            StreamKind::Tls(tls) => tls.io.get_ref().1.alpn_protocol(),
            _ => None,
        }
    }

    /// Checks without waiting whether the peer has sent a byte, a FIN or a reset. For an idle
    /// pooled connection, which must not be reused if it has.
    ///
    /// A TLS session processes its own messages (tickets, key updates) and reports only application
    /// data.
    pub fn is_readable_or_closed(&mut self) -> bool {
        match &mut self.0 {
            StreamKind::Tcp(tcp) => peek_is_readable(SockRef::from(&*tcp.io)),
            StreamKind::Unix(unix) => peek_is_readable(SockRef::from(&unix.io)),
            StreamKind::Tls(tls) => tls.is_readable_or_closed(),
            StreamKind::Other(pipe) => poll_is_readable(&mut **pipe),
        }
    }

    /// Whether [`Stream::is_readable_or_closed`] may return true, without a system call: for a TCP
    /// socket, whether the reactor has reported readiness since the socket was found empty. Valid
    /// only after a reactor tick, which reports everything that came before it. For other streams
    /// this is unknown: true.
    pub fn may_be_readable(&self) -> bool {
        match &self.0 {
            StreamKind::Tcp(tcp) => raw::is_announced(&tcp.io),
            _ => true,
        }
    }

    fn pipe(&mut self) -> &mut dyn Pipe {
        match &mut self.0 {
            StreamKind::Tcp(tcp) => tcp,
            StreamKind::Unix(unix) => unix,
            StreamKind::Tls(tls) => &mut **tls,
            StreamKind::Other(pipe) => &mut **pipe,
        }
    }
}

impl Pipe for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        match &mut self.0 {
            StreamKind::Tcp(tcp) => tcp.poll_read(cx, buf),
            _ => self.pipe().poll_read(cx, buf),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        match &mut self.0 {
            StreamKind::Tcp(tcp) => tcp.poll_write(cx, bufs),
            _ => self.pipe().poll_write(cx, bufs),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.pipe().poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.pipe().poll_finish(cx)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.pipe().poll_broken(cx)
    }

    fn reset(&mut self, code: u32) {
        self.pipe().reset(code);
    }

    fn close_on_drop(&mut self) {
        self.pipe().close_on_drop();
    }

    fn reset_on_drop(&mut self) {
        self.pipe().reset_on_drop();
    }

    fn count_for(&mut self, client: u64) {
        self.pipe().count_for(client);
    }

    fn is_still_readable(&self) -> bool {
        match &self.0 {
            StreamKind::Tcp(tcp) => tcp.is_still_readable(),
            StreamKind::Unix(unix) => unix.is_still_readable(),
            StreamKind::Tls(tls) => tls.wire().is_still_readable(),
            StreamKind::Other(pipe) => pipe.is_still_readable(),
        }
    }

    fn is_acknowledged(&self) -> Option<bool> {
        match &self.0 {
            StreamKind::Tcp(tcp) => tcp.is_acknowledged(),
            StreamKind::Unix(unix) => unix.is_acknowledged(),
            StreamKind::Tls(tls) => tls.wire().is_acknowledged(),
            StreamKind::Other(pipe) => pipe.is_acknowledged(),
        }
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            StreamKind::Tcp(tcp) => tcp.io.peer_addr().ok(),
            StreamKind::Unix(_) => None,
            StreamKind::Tls(tls) => tls.wire().peer_addr(),
            StreamKind::Other(pipe) => pipe.peer_addr(),
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            StreamKind::Tcp(tcp) => tcp.io.local_addr().ok(),
            StreamKind::Unix(_) => None,
            StreamKind::Tls(tls) => tls.wire().local_addr(),
            StreamKind::Other(pipe) => pipe.local_addr(),
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.0 {
            StreamKind::Tcp(_) => "tcp",
            StreamKind::Unix(_) => "unix",
            StreamKind::Tls(_) => "tls",
            StreamKind::Other(_) => "pipe",
        };
        write!(f, "Stream({kind}, peer {:?})", self.peer_addr())
    }
}

/// The meaning of a drop for the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Neither FIN nor orderly close yet: a drop resets.
    Open,
    /// [`Pipe::close_on_drop`] was called: a drop just closes.
    Closing,
    /// FIN was sent: a drop just closes.
    Finished,
}

/// Whether bytes that came before the first failure of a TCP socket can still be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    None,
    /// The peer's FIN came first, or the kernel keeps the error behind the bytes: reads are
    /// reliable.
    Readable,
    Other,
}

/// A TCP socket. It is in an `Arc` because the watch for a reset must own the socket. Only a watch
/// holds a second reference, and only from one `poll_broken` to the next `poll_read`.
struct Tcp {
    io: Arc<TcpStream>,
    watch: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
    /// The socket's error was taken out of it. Without this flag the next read would look like a
    /// FIN.
    broken: bool,
    failure: Failure,
    ending: Ending,
}

impl Tcp {
    /// Records the first failure. On Linux a reset after the peer's FIN is `EPIPE` and any other
    /// one is `ECONNRESET` (`tcp_reset` in the kernel). A socket whose error was taken also returns
    /// `EPIPE`, so only the first failure counts. So does a socket that has sent its own FIN, so
    /// that case is not decided here.
    fn note_failure(&mut self, error: &io::Error) {
        if self.failure == Failure::None {
            let is_behind_fin = cfg!(target_os = "linux")
                && error.kind() == io::ErrorKind::BrokenPipe
                && self.ending != Ending::Finished;
            self.failure = if is_behind_fin {
                Failure::Readable
            } else {
                Failure::Other
            };
        }
    }

    /// Takes the socket's error, if it has one.
    fn take_error(&mut self) -> Option<io::Error> {
        let error = self.io.take_error().ok().flatten()?;
        self.note_failure(&error);
        self.broken = self.failure != Failure::Readable;
        Some(error)
    }
}

impl Pipe for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        if self.broken {
            return Poll::Ready(Err(Broken::Reset(0)));
        }
        // A reader gets a reset from its read: no watch is needed, and without it the `Arc` has one
        // owner.
        self.watch = None;
        let read = raw::poll_read(&self.io, cx, buf);
        if matches!(read, Poll::Ready(Err(_))) {
            self.failure = Failure::Other;
        }
        read
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        raw::poll_write(&self.io, cx, bufs).map_err(|error| {
            self.note_failure(&error);
            error.into()
        })
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.ending == Ending::Open {
            if let Err(error) = SockRef::from(&*self.io).shutdown(std::net::Shutdown::Write) {
                // The socket is closed already; its own error is the cause.
                return Poll::Ready(Err(self.take_error().unwrap_or(error).into()));
            }
            self.ending = Ending::Finished;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let io = &self.io;
        let watch = self
            .watch
            .get_or_insert_with(|| Box::pin(wait_for_error(Arc::clone(io))));
        let watched = ready!(watch.as_mut().poll(cx));
        self.watch = None;
        if let Err(error) = watched {
            self.broken = true;
            return Poll::Ready(error.into());
        }
        if cfg!(target_os = "linux") && self.ending == Ending::Finished && !self.broken {
            // After our own FIN the error does not show whether the peer's FIN came first. It stays
            // in the socket: a read returns FIN if that came first, and otherwise the error.
            self.failure = Failure::Readable;
            return Poll::Ready(Broken::Reset(0));
        }
        let error = self.take_error();
        if self.failure != Failure::Readable {
            self.broken = true;
        }
        Poll::Ready(error.map_or(Broken::Reset(0), Broken::from))
    }

    fn reset(&mut self, _code: u32) {
        self.ending = Ending::Open;
        let _ = SockRef::from(&*self.io).set_linger(Some(std::time::Duration::ZERO));
    }

    fn close_on_drop(&mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::Closing;
        }
    }

    fn reset_on_drop(&mut self) {
        if self.ending == Ending::Closing {
            self.ending = Ending::Open;
        }
    }

    fn is_still_readable(&self) -> bool {
        self.failure == Failure::Readable && !self.broken
    }

    fn is_acknowledged(&self) -> Option<bool> {
        unacknowledged::bytes(&self.io).map(|bytes| bytes == 0)
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if self.ending == Ending::Open {
            self.reset(0);
        }
    }
}

/// Waits until the kernel reports an error on the socket (a reset raises EPOLLERR even while unread
/// bytes wait).
async fn wait_for_error(io: Arc<TcpStream>) -> io::Result<()> {
    io.ready(Interest::ERROR).await.map(|_| ())
}

/// One poll for a byte. An idle stream has no other waiter, so a no-op waker replaces none. Without
/// `unconstrained`, an exhausted task budget would make a readable stream look idle.
fn poll_is_readable(pipe: &mut dyn Pipe) -> bool {
    let mut byte = [0];
    let read = std::pin::pin!(unconstrained(poll_fn(|cx| pipe.poll_read(cx, &mut byte))));
    read.poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

/// One non-blocking peek at the receive queue: true for a byte, a FIN or an error, false for an
/// empty queue.
fn peek_is_readable(socket: SockRef<'_>) -> bool {
    let mut byte = [std::mem::MaybeUninit::<u8>::uninit()];
    match socket.peek(&mut byte) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

struct Unix {
    io: UnixStream,
    ending: Ending,
}

impl Pipe for Unix {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        poll_async_read(&mut self.io, cx, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        Pin::new(&mut self.io)
            .poll_write_vectored(cx, bufs)
            .map_err(Broken::from)
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.ending == Ending::Open {
            SockRef::from(&self.io).shutdown(std::net::Shutdown::Write)?;
            self.ending = Ending::Closing;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, _cx: &mut Context<'_>) -> Poll<Broken> {
        // A Unix socket has no reset: a closed peer is a FIN to the reader and a broken pipe to the
        // writer.
        Poll::Pending
    }

    fn reset(&mut self, _code: u32) {
        let _ = SockRef::from(&self.io).shutdown(std::net::Shutdown::Both);
    }

    fn close_on_drop(&mut self) {
        self.ending = Ending::Closing;
    }

    fn is_acknowledged(&self) -> Option<bool> {
        // Written bytes are in the peer's queue, and stay there after a close.
        Some(true)
    }
}

struct Tls {
    io: TlsStream<AsIo>,
    finished: bool,
}

impl Tls {
    fn wire(&self) -> &Stream {
        &self.io.get_ref().0.0
    }

    fn wire_mut(&mut self) -> &mut Stream {
        &mut self.io.get_mut().0.0
    }

    /// Processes TLS's own messages. Bytes left in the socket afterwards (not yet reported by the
    /// reactor) count as readable, because they were not examined.
    fn is_readable_or_closed(&mut self) -> bool {
        poll_is_readable(self)
            || (!matches!(self.wire().0, StreamKind::Other(_))
                && self.wire_mut().is_readable_or_closed())
    }
}

impl Pipe for Tls {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        poll_async_read(&mut self.io, cx, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        Pin::new(&mut self.io)
            .poll_write_vectored(cx, bufs)
            .map_err(Broken::from)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Pin::new(&mut self.io).poll_flush(cx).map_err(Broken::from)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if !self.finished {
            // close_notify, then FIN on the stream below.
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.wire_mut().poll_broken(cx)
    }

    fn reset(&mut self, code: u32) {
        self.wire_mut().reset(code);
    }

    fn close_on_drop(&mut self) {
        self.wire_mut().close_on_drop();
    }

    fn reset_on_drop(&mut self) {
        self.wire_mut().reset_on_drop();
    }

    fn count_for(&mut self, client: u64) {
        self.wire_mut().count_for(client);
    }
}

/// A stream as tokio's plain reader and writer, for a layer without resets (TLS records). A reset
/// or a lost session reads as an error, never as an end.
pub struct AsIo(pub Stream);

impl AsyncRead for AsIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let space = buf.initialize_unfilled();
        if let Read::Data(n) = ready!(self.get_mut().0.poll_read(cx, space))? {
            buf.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AsIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .0
            .poll_write(cx, &[IoSlice::new(bytes)])
            .map_err(io::Error::from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .0
            .poll_write(cx, bufs)
            .map_err(io::Error::from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_flush(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_finish(cx).map_err(io::Error::from)
    }
}

fn poll_async_read(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<Result<Read, Broken>> {
    let wanted = !buf.is_empty();
    let mut buf = ReadBuf::new(buf);
    ready!(Pin::new(io).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(match buf.filled().len() {
        0 if wanted => Read::Fin,
        n => Read::Data(n),
    }))
}

#[cfg(test)]
mod tests;
