//! Connections with bounds: how many at once, how long each, how much each may say. Nobody who can reach the port can hold
//! more of the daemon than that.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// A few scrapers, a supervisor, a person with curl; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 16;
/// From accepting to the last byte; a scraper gives up after 10 s by default.
pub const LIFETIME: Duration = Duration::from_secs(10);
/// A request has no body and few headers.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Accepts within the bounds.
pub struct Listener {
    tcp: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener {
    pub fn new(tcp: TcpListener) -> Self {
        Self { tcp, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Bounded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Bounded, SocketAddr) {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        // axum's way with a TcpListener waits a second when the process has no descriptors left.
        let (stream, from) = axum::serve::Listener::accept(&mut self.tcp).await;
        let end = Box::pin(tokio::time::sleep(LIFETIME));
        (Bounded { stream, end, left: REQUEST_BYTES_MAX, _permit: permit }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection that ends in time.
pub struct Bounded {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    /// Bytes that it may still say.
    left: usize,
    _permit: OwnedSemaphorePermit,
}

impl Bounded {
    fn poll_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the connection has had its time")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        let before = to.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, to))?;
        match self.left.checked_sub(to.filled().len() - before) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the request is too long"))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
