//! A TCP connection of a flow: every wait on it is bounded, and every failure of it has its cause.

use std::{
    io,
    net::IpAddr,
    ops::{Deref, DerefMut},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    failure::{Cause, Failure, Phase},
    flow::{Flow, TcpCount},
    source::Target,
    tcp_info,
};

/// How long a flow that is done waits for the server's end of the connection. (The server closing first leaves
/// TIME_WAIT with the server, so that thousands of short connections do not use up the client's ports.)
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// A flow's connection. At its end it leaves with the flow what the kernel counted on it.
pub struct Connection {
    stream: TcpStream,
    count: Rc<TcpCount>,
}

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.count.ended(&self.stream);
    }
}

/// Opens a flow's connection from the next source address.
pub async fn connect(flow: &mut Flow) -> Result<Connection, Failure> {
    let target = flow.group.plan.target;
    let (sources, limit) = (&flow.environment.sources, flow.environment.args.timeout);
    let source: Option<IpAddr> = sources.next_for(target.ip());
    let bound = sources.tcp_socket(Target(target.ip()), source);
    let socket = bound.map_err(|error| Failure::from_io(Phase::Bind, &error))?;
    flow.sent(0);
    let begun = Instant::now();
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(target);
    let stream = match timeout(limit, connecting).await {
        Err(_) => return Err(Failure::new(Cause::ConnectTimeout, format!("no connection within {limit:?}"))),
        Ok(result) => result.map_err(|error| Failure::from_io(Phase::Connect, &error))?,
    };
    flow.received(0);
    flow.group.tally.borrow_mut().connected(begun.elapsed());
    flow.record.client = stream.local_addr().ok();
    // Requests and messages are single writes that want an answer; none is to wait for the last one's ACK.
    let _ = stream.set_nodelay(true);
    flow.tcp.opened(&stream);
    Ok(Connection { stream, count: Rc::clone(&flow.tcp) })
}

/// Reads what there is, waiting at most the stall timeout for it. 0 is the end of the connection.
pub async fn read(flow: &mut Flow, stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, Failure> {
    let limit = flow.environment.args.stall_timeout;
    let bytes = match timeout(limit, stream.read(buffer)).await {
        Err(_) => return Err(stalled(limit)),
        Ok(result) => result.map_err(|error| Failure::from_io(Phase::Exchange, &error))?,
    };
    if bytes > 0 {
        flow.received(bytes);
    }
    Ok(bytes)
}

/// Writes some of `bytes`, waiting at most the stall timeout for room.
pub async fn write(flow: &mut Flow, stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Failure> {
    let limit = flow.environment.args.stall_timeout;
    match timeout(limit, stream.write(bytes)).await {
        Err(_) => Err(stalled(limit)),
        Ok(result) => result.map_err(|error| Failure::from_io(Phase::Exchange, &error)),
    }
}

/// Waits until the peer has acknowledged everything that was written, at most the stall timeout.
pub async fn acknowledged(flow: &mut Flow, stream: &TcpStream, written: u64) -> Result<(), Failure> {
    /// Nothing tells a program that an acknowledgement came, so it has to look: often enough for a resolution of a
    /// millisecond, which is that of the runtime's timers.
    const LOOK: Duration = Duration::from_millis(1);
    let limit = flow.environment.args.stall_timeout;
    let deadline = Instant::now() + limit;
    loop {
        let info = tcp_info::of(stream).map_err(|error| Failure::from_io(Phase::Exchange, &error))?;
        if info.tcpi_bytes_acked >= written {
            return Ok(());
        }
        if let Some(error) = stream.take_error().ok().flatten() {
            return Err(Failure::from_io(Phase::Exchange, &error));
        }
        if info.tcpi_state == tcp_info::CLOSED {
            return Err(Failure::new(Cause::Reset, "exchange: the connection is closed"));
        }
        if Instant::now() >= deadline {
            return Err(stalled(limit));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Writes a request, which is one exchange, in one go.
pub async fn write_request(flow: &mut Flow, stream: &mut TcpStream) -> Result<(), Failure> {
    let group = std::rc::Rc::clone(&flow.group);
    flow.exchange_sent(group.request.len());
    let mut written = 0;
    while written < group.request.len() {
        written += write(flow, stream, &group.request[written..]).await?;
    }
    Ok(())
}

/// The failure of a flow that waited in vain.
pub fn stalled(limit: Duration) -> Failure {
    Failure::new(Cause::Stalled, format!("no progress for {limit:?}"))
}

/// Ends a connection whose work is done, without a reset: tells the server if it does not know yet, and reads on to its
/// end, for a bounded time. Nothing that happens here is the flow's any more.
pub async fn close(mut stream: Connection, server_closes: bool, buffer: &mut [u8]) {
    let closing = async {
        if !server_closes {
            stream.shutdown().await?;
        }
        while stream.read(buffer).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(CLOSE_WAIT, closing).await;
}
