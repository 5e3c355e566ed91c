//! Connector: opens connections for an agent: the built-in dialler, or any `tower` service.
//!
//! In:    a [`Target`].
//! Out:   [`Connected`]: a byte stream to it, and the form that requests on it must have.
//! Never: called without a permit of the pool; pools or limits connections itself.

use super::error::{BoxError, Error, Which};
use super::h2_session::H2;
use super::target::Target;
use byway_dial::{
    AddressRules, AsIo, Broken, Dialled, Dialler, Options, Pipe, Read, Resolver, Route, Stream,
};
use byway_dial::{TlsClient, TlsOptions};
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use std::any::Any;
use std::future::Future;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tower_service::Service;

/// A connection as a connector returns it.
#[derive(Debug)]
pub struct Connected {
    pub(crate) stream: Stream,
    pub(crate) secured: bool,
    pub(crate) http2: bool,
    pub(crate) absolute_form: bool,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
}

impl Connected {
    /// A plain byte stream to the target, possibly through proxies. For an `https` target the agent
    /// speaks TLS over it.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            secured: false,
            http2: false,
            absolute_form: false,
            fields: Vec::new(),
        }
    }

    /// The connector has spoken TLS itself, and has verified [`Target::server_name`].
    #[must_use]
    pub fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// The peer speaks HTTP/2 on this connection. Not needed for a [`Stream`] whose TLS handshake
    /// has selected it.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Whether the peer speaks HTTP/2 on this connection.
    pub(crate) fn is_http2(&self) -> bool {
        self.http2 || self.stream.alpn() == Some(H2)
    }

    /// The peer is a forward proxy for plain requests: they are sent with the whole URL as their
    /// target (RFC 9112 section 3.2.2). Not for `https` targets, which go through such a proxy by
    /// CONNECT.
    #[must_use]
    pub fn absolute_form(mut self) -> Self {
        self.absolute_form = true;
        self
    }

    /// A field that every request on this connection carries, such as `Proxy-Authorization`.
    #[must_use]
    pub fn with_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }
}

impl From<Stream> for Connected {
    fn from(stream: Stream) -> Self {
        Self::new(stream)
    }
}

impl From<Dialled> for Connected {
    fn from(dialled: Dialled) -> Self {
        Self::new(dialled.stream)
    }
}

/// A connection being opened.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Connected, BoxError>> + Send>>;

/// A connector of any kind.
pub(crate) trait Connect: Send + Sync + 'static {
    fn connect(&self, target: Target) -> Connecting;
}

/// A `tower` service as a connector. It is cloned for each connection, and its readiness is
/// awaited.
struct Foreign<S, T> {
    service: S,
    into: fn(T) -> Connected,
}

impl<S, T> Connect for Foreign<S, T>
where
    S: Service<Target, Response = T> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    T: 'static,
{
    fn connect(&self, target: Target) -> Connecting {
        let (mut service, into) = (self.service.clone(), self.into);
        Box::pin(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            service.call(target).await.map(into).map_err(Into::into)
        })
    }
}

/// A service whose connections are plain I/O.
pub(crate) fn of_io<S>(service: S) -> Arc<dyn Connect>
where
    S: Service<Target> + Clone + Send + Sync + 'static,
    S::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    Arc::new(Foreign {
        service,
        into: |io| Connected::new(stream_of(io)),
    })
}

/// A service whose connections are streams or [`Connected`].
pub(crate) fn of_streams<S>(service: S) -> Arc<dyn Connect>
where
    S: Service<Target> + Clone + Send + Sync + 'static,
    S::Response: Into<Connected> + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    Arc::new(Foreign {
        service,
        into: Into::into,
    })
}

/// A function from [`Target`] to a future, as a connector.
pub fn connector_fn<F, Fut, T, E>(connect: F) -> ConnectorFn<F>
where
    F: FnMut(Target) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    ConnectorFn {
        connect,
        _private: PhantomData,
    }
}

/// See [`connector_fn`].
#[derive(Clone, Debug)]
pub struct ConnectorFn<F> {
    connect: F,
    _private: PhantomData<()>,
}

impl<F, Fut, T, E> Service<Target> for ConnectorFn<F>
where
    F: FnMut(Target) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Target) -> Fut {
        (self.connect)(target)
    }
}

/// The built-in connector: name lookup, Happy Eyeballs, TCP and Unix sockets, and proxies.
pub(crate) struct Direct {
    options: Options,
    parent_tls: TlsOptions,
    /// Created by the first dial, on whose runtime the lookups run.
    dialler: Arc<OnceLock<Dialler>>,
}

impl Direct {
    /// `tls` is the policy for origins; the client certificate is not presented to a proxy.
    pub(crate) fn new(options: Options, tls: &TlsOptions) -> Self {
        let parent_tls = TlsOptions {
            identity: None,
            ..tls.clone()
        };
        Self {
            options,
            parent_tls,
            dialler: Arc::default(),
        }
    }
}

impl Connect for Direct {
    fn connect(&self, target: Target) -> Connecting {
        let (options, parent_tls) = (self.options, self.parent_tls.clone());
        let cell = Arc::clone(&self.dialler);
        Box::pin(async move {
            let resolver = || Resolver::system(tokio::runtime::Handle::current());
            let dialler =
                cell.get_or_init(|| Dialler::new(resolver(), options).with_parent_tls(parent_tls));
            // The caller chose the URL; address rules are for URLs from unauthenticated clients.
            let rules = AddressRules::open();
            match target.group.routes() {
                None => Ok(dialler.open(&target.address, &rules).await?.into()),
                Some(routes) => {
                    let (route, dialled) = dialler.open_by(routes, &target.address, &rules).await?;
                    by_route(route, dialled)
                }
            }
        })
    }
}

/// A connection by `route`, and the form that requests on it must have.
fn by_route(route: &Route, dialled: Dialled) -> Result<Connected, BoxError> {
    let Route::Absolute(parent) = route else {
        return Ok(dialled.into());
    };
    let connected = Connected::from(dialled).absolute_form();
    let Some(authorization) = parent.authorization()? else {
        return Ok(connected);
    };
    let mut value = HeaderValue::try_from(authorization)?;
    value.set_sensitive(true);
    Ok(connected.with_field(PROXY_AUTHORIZATION, value))
}

/// Opens a connection and completes TLS, all within `limit`.
pub(crate) async fn open(
    connector: &dyn Connect,
    target: &Target,
    tls: impl FnOnce() -> Result<TlsClient, BoxError>,
    limit: Duration,
) -> Result<Connected, Error> {
    let failed = |source| Error::Connect {
        target: target.to_string().into(),
        source,
    };
    let opening = async {
        let mut connected = connector.connect(target.clone()).await?;
        let Some(name) = target.server_name() else {
            return Ok(connected);
        };
        if connected.absolute_form {
            return Err(
                "the connector offers a forward proxy for plain requests, and the target is https"
                    .into(),
            );
        }
        if !connected.secured {
            connected.stream = tls()?.connect(connected.stream, name).await?;
        }
        Ok(connected)
    };
    match timeout(limit, opening).await {
        Ok(opened) => opened.map_err(failed),
        Err(_) => Err(Error::Timeout {
            which: Which::Connect,
            after: limit,
        }),
    }
}

/// Plain I/O as a stream. Sockets are recognised, so that socket-only features stay available.
fn stream_of<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: T) -> Stream {
    let mut io = Some(io);
    let any: &mut dyn Any = &mut io;
    if let Some(socket) = any
        .downcast_mut::<Option<TcpStream>>()
        .and_then(Option::take)
    {
        return Stream::tcp(socket);
    }
    if let Some(socket) = any
        .downcast_mut::<Option<UnixStream>>()
        .and_then(Option::take)
    {
        return Stream::unix(socket);
    }
    if let Some(AsIo(stream)) = any.downcast_mut::<Option<AsIo>>().and_then(Option::take) {
        return stream;
    }
    Stream::other(Box::new(Io {
        io,
        finished: false,
    }))
}

/// Any reader and writer as a pipe. It has no reset: `reset` drops it.
struct Io<T> {
    io: Option<T>,
    finished: bool,
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io<T> {
    fn io(&mut self) -> Result<Pin<&mut T>, Broken> {
        self.io.as_mut().map(Pin::new).ok_or(Broken::Reset(0))
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for Io<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        let wanted = !buf.is_empty();
        let mut buf = ReadBuf::new(buf);
        ready!(self.io()?.poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(match buf.filled().len() {
            0 if wanted => Read::Fin,
            n => Read::Data(n),
        }))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        self.io()?
            .poll_write_vectored(cx, bufs)
            .map_err(Broken::from)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.io()?.poll_flush(cx).map_err(Broken::from)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if !self.finished {
            ready!(self.io()?.poll_shutdown(cx))?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, _cx: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending // plain I/O reports this only on reads and writes
    }

    fn reset(&mut self, _code: u32) {
        self.io = None;
    }

    fn close_on_drop(&mut self) {}
}
