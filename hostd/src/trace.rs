//! `hostd trace`: what this host does with one flow. Routers that follow a flow ask the same over HTTPS.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;
use slr_daemon::{admin, output};
use slr_model::{FlowKey, HostTrace, Protocol, TracedSocket};

use crate::cli::Output;
use crate::status::Request;

/// Which flow.
#[derive(Debug, Args)]
pub struct Options {
    /// The client, such as 198.51.100.7:40000 or [2001:db8::7]:40000.
    client: SocketAddr,
    /// The virtual host and its port, such as 192.0.2.9:80.
    virtual_host: SocketAddr,
    /// tcp or udp.
    #[arg(default_value = "tcp")]
    protocol: Protocol,
    #[command(flatten)]
    output: Output,
}

/// Asks the daemon and prints its answer.
pub fn run(options: &Options) -> Result<()> {
    let flow = FlowKey::new(options.client, options.virtual_host, options.protocol)?;
    let answer: HostTrace = admin::request(&options.output.socket, &Request::Trace { flow })?;
    output::print(if options.output.json { serde_json::to_string_pretty(&answer)? } else { answer.to_string() });
    Ok(())
}

/// The kernel's answer about a flow of this host.
pub fn socket(flow: &FlowKey) -> (TracedSocket, Option<String>) {
    match crate::sockets::owner(flow) {
        Ok(socket) => (socket, None),
        Err(error) => (TracedSocket::Unknown, Some(error.to_string())),
    }
}
