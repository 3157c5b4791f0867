//! A UDP socket that a busy router reads in batches.
//!
//! A thousand children send thousands of datagrams a second, each at its own time. A task that is woken for each of
//! them spends most of its time on waking up and on cold caches. So from [`BUSY_READS`] on the socket is not watched but
//! looked at every [`TICK`], and everything that came since is read at once, which saves about a fifth of what a router
//! pays for its children (`examples/thousand_children.rs`). A quiet socket is watched as usual, so that nothing waits and nothing ticks.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Time between two looks at a busy socket. An advert may wait that long, of the hundred milliseconds that it may take
/// into the ring.
const TICK: Duration = Duration::from_millis(10);
/// A socket is busy from so many reads in [`WINDOW`] on: four in a tick.
const BUSY_READS: u32 = 40;
const WINDOW: Duration = Duration::from_millis(100);
/// Looks in vain after which it is quiet again.
const QUIET_TICKS: u32 = 4;
/// A full send buffer is tried again after this long: any link has sent something of it by then.
const SEND_RETRY: Duration = Duration::from_millis(1);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct BatchedSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    reading: Mutex<Reading>,
    /// When the send buffer, found full, is tried again.
    full_until: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Reading {
    mode: Mode,
    since: Instant,
    reads: u32,
}

#[derive(Debug)]
enum Mode {
    /// Woken by the kernel, through a descriptor of its own.
    Watched(tokio::net::UdpSocket),
    /// Looked at when the time has come; so many looks were in vain.
    Ticking(Pin<Box<Sleep>>, u32),
}

impl BatchedSocket {
    /// Takes a socket that does not block.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let reading = Reading { mode: watched(&socket)?, since: Instant::now(), reads: 0 };
        Ok(Self { socket, state, reading: Mutex::new(reading), full_until: Mutex::new(None) })
    }

    fn recv(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), buffers, meta)
    }
}

fn watched(socket: &UdpSocket) -> io::Result<Mode> {
    Ok(Mode::Watched(tokio::net::UdpSocket::from_std(socket.try_clone()?)?))
}

impl Reading {
    /// Counts a read, and says whether the socket has become busy.
    fn is_busy(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.reads) = (now, 0);
        }
        self.reads += 1;
        self.reads >= BUSY_READS
    }
}

impl AsyncUdpSocket for BatchedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(SendAgain { socket: self, wait: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send((&self.socket).into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut full_until = self.full_until.lock().unwrap_or_else(PoisonError::into_inner);
            *full_until = Some(Instant::now() + SEND_RETRY);
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut reading.mode {
                Mode::Watched(descriptor) => {
                    ready!(descriptor.poll_recv_ready(context))?;
                    match descriptor.try_io(Interest::READABLE, || self.recv(buffers, meta)) {
                        // Asked again, which registers for the next wake.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        received => {
                            if reading.is_busy() {
                                reading.mode = Mode::Ticking(Box::pin(sleep(TICK)), 0);
                            }
                            return Poll::Ready(received);
                        }
                    }
                }
                Mode::Ticking(tick, in_vain) => {
                    ready!(tick.as_mut().poll(context));
                    match self.recv(buffers, meta) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            *in_vain += 1;
                            if *in_vain > QUIET_TICKS {
                                (reading.mode, reading.reads) = (watched(&self.socket)?, 0);
                            } else {
                                tick.as_mut().reset(Instant::now() + TICK);
                            }
                        }
                        received => {
                            // The look after the last datagram is in vain each time, and does not count.
                            *in_vain = 0;
                            return Poll::Ready(received);
                        }
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits while the send buffer is full.
#[derive(Debug)]
struct SendAgain {
    socket: Arc<BatchedSocket>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl UdpPoller for SendAgain {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wait.is_none() {
            let mut full_until = self.socket.full_until.lock().unwrap_or_else(PoisonError::into_inner);
            match full_until.filter(|&until| until > Instant::now()) {
                Some(until) => {
                    drop(full_until);
                    self.wait = Some(Box::pin(sleep_until(until)));
                }
                None => {
                    *full_until = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn is_ticking(socket: &BatchedSocket) -> bool {
        matches!(socket.reading.lock().unwrap().mode, Mode::Ticking(..))
    }

    /// Reads once; returns the first bytes of what came.
    async fn read(socket: &BatchedSocket) -> Vec<u8> {
        let mut memory = vec![0u8; 64 << 10];
        let mut meta = [RecvMeta::default()];
        let poll = poll_fn(|context| socket.poll_recv(context, &mut [IoSliceMut::new(&mut memory)], &mut meta));
        assert_eq!(poll.await.unwrap(), 1);
        memory[..meta[0].len].chunks(meta[0].stride).map(|datagram| datagram[0]).collect()
    }

    #[tokio::test]
    async fn a_busy_socket_ticks_and_a_quiet_one_is_watched_and_neither_loses_anything() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = BatchedSocket::new(socket).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |number: u8| sender.send_to(&[number; 100], socket.local_addr().unwrap()).unwrap();
        assert!(!is_ticking(&socket));
        for round in 0..3u8 {
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            for number in 0..200u8 {
                send(number);
                sent.push(number);
                if number % 4 == round {
                    received.append(&mut read(&socket).await);
                }
            }
            assert!(is_ticking(&socket), "fifty reads in a moment are many");
            while received.len() < sent.len() {
                received.append(&mut read(&socket).await);
            }
            assert_eq!(received, sent);
            let nothing = tokio::time::timeout(TICK * (QUIET_TICKS + 4), read(&socket)).await;
            assert!(nothing.is_err() && !is_ticking(&socket), "it is quiet again");
        }
        // The kernel wakes it.
        send(7);
        assert_eq!(read(&socket).await, [7]);
    }
}
