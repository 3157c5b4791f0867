//! One try of a check.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::{Checked, Kind, Outcome};
use crate::http::{self, Get};
use crate::reason::cut;
use crate::{dial, patience, process};

/// Longest datagram that an answer may have; what is longer is cut.
const DATAGRAM_LEN_MAX: usize = 2048;

/// Tries once. Ends within the check's timeout, as far as this program gets to run.
pub async fn attempt(checked: &Checked) -> Outcome {
    let check = &checked.check;
    let at = |port: u16| SocketAddr::new(check.address, port);
    let work = async {
        match &check.kind {
            Kind::Tcp { port } => tcp(at(*port)).await,
            Kind::Http { port, host, path, status } => http(at(*port), host.as_deref(), path, status).await,
            Kind::Udp { port, send, expect } => udp(at(*port), send, expect).await,
            // The command has the same patience of its own, to be killed by; this one only stands behind it.
            Kind::Command { words } => command(words, checked).await,
        }
    };
    let result = match &check.kind {
        Kind::Command { .. } => work.await,
        kind => patience::within(check.timeout, work).await.unwrap_or_else(|| {
            Err(format!("{}: no answer from {} within {} ms", kind.name(), check.address, check.timeout.as_millis()))
        }),
    };
    match result {
        Ok(()) => Outcome::Success,
        Err(why) => Outcome::Failure(cut(why)),
    }
}

async fn tcp(to: SocketAddr) -> Result<(), String> {
    dial::tcp(to, true).await.map(drop).map_err(|error| format!("tcp: {to}: {error}"))
}

async fn http(to: SocketAddr, host: Option<&str>, path: &str, good: &[u16]) -> Result<(), String> {
    let host = host.map_or_else(|| host_of(to.ip()), str::to_owned);
    let request = Get { to, own_source: true, host, path: path.to_owned() };
    match http::get(&request, None).await {
        Ok((status, _)) if good.contains(&status.as_u16()) => Ok(()),
        Ok((status, _)) => Err(format!("http: status {}", status.as_u16())),
        Err(error) => Err(format!("http: {to}: {error}")),
    }
}

/// An address as a Host header has it (RFC 9110 7.2).
fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

async fn udp(to: SocketAddr, send: &[u8], expect: &[u8]) -> Result<(), String> {
    let failed = |error: io::Error| format!("udp: {to}: {error}");
    let socket = dial::udp(to.ip()).map_err(failed)?;
    socket.send_to(send, to).await.map_err(failed)?;
    let mut answer = [0; DATAGRAM_LEN_MAX];
    loop {
        let (len, from) = socket.recv_from(&mut answer).await.map_err(failed)?;
        // From the service's port, but maybe from another address of this host: a server on the wildcard address answers a
        // neighbour on its own machine from wherever the kernel likes. To clients it answers from the virtual address.
        if from.port() != to.port() {
            continue;
        }
        if answer[..len].starts_with(expect) {
            return Ok(());
        }
        return Err(format!("udp: {to}: the answer begins with {}", shown(&answer[..len.min(expect.len())])));
    }
}

/// Bytes for people: as text where they are, else escaped.
fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

async fn command(words: &[String], checked: &Checked) -> Result<(), String> {
    let ran = process::run(words, &checked.environment(), checked.check.timeout).await;
    ran.map(drop).map_err(|error| format!("command: {error}"))
}

impl Kind {
    /// What the configuration calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Tcp { .. } => "tcp",
            Kind::Http { .. } => "http",
            Kind::Udp { .. } => "udp",
            Kind::Command { .. } => "command",
        }
    }
}

#[cfg(test)]
mod tests;
