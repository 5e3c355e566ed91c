//! Origin: a minimal HTTP/1.1 origin for the examples, on loopback. Not a part of the crate.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

/// An origin that stops when it is dropped.
pub(crate) struct Origin {
    address: Option<SocketAddr>,
    _serving: JoinSet<()>,
}

/// A received request.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
}

impl Origin {
    /// Responds to each request with 200 and the text that `answer` returns.
    pub(crate) async fn start<F, Fut>(answer: F) -> io::Result<Self>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = String> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = Some(listener.local_addr()?);
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&answer)));
            }
        });
        Ok(Self {
            address,
            _serving: serving,
        })
    }

    /// As [`Origin::start`], on a Unix socket.
    pub(crate) fn start_unix<F, Fut>(path: &Path, answer: F) -> io::Result<Self>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = String> + Send + 'static,
    {
        let listener = UnixListener::bind(path)?;
        let answer = Arc::new(answer);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&answer)));
            }
        });
        Ok(Self {
            address: None,
            _serving: serving,
        })
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address
            .map(|address| address.to_string())
            .unwrap_or_default()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }
}

async fn serve<S, F, Fut>(mut socket: S, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request) -> Fut,
    Fut: Future<Output = String>,
{
    let mut unread = Vec::new();
    loop {
        let Some(head_len) = unread
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| at + 4)
        else {
            match socket.read_buf(&mut unread).await {
                Ok(1..) => continue,
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&unread[..head_len]).into_owned();
        unread.drain(..head_len);
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(field, _)| field.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let length: usize = field("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        while unread.len() < length {
            let Ok(1..) = socket.read_buf(&mut unread).await else {
                return;
            };
        }
        unread.drain(..length);
        let mut line = head.split(' ').map(str::to_owned);
        let (method, path) = (
            line.next().unwrap_or_default(),
            line.next().unwrap_or_default(),
        );
        if field("upgrade").is_some() {
            let _ = echo(socket).await;
            return;
        }
        let text = answer(Request {
            method,
            path,
            host: field("host").unwrap_or_default(),
        })
        .await;
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if socket.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Sends 101, then echoes all bytes.
async fn echo(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    socket
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await?;
    let mut room = [0; 1024];
    loop {
        match socket.read(&mut room).await? {
            0 => return socket.shutdown().await,
            n => socket.write_all(&room[..n]).await?,
        }
    }
}
