//! `probe serve`: the small server side, which says in every answer who answered, on which connection and which answer
//! it is.
//!
//! | service | transport | shape |
//! | --- | --- | --- |
//! | HTTP | TCP, `--http-port` | `GET /` (the identity as one line), `GET /bytes/N[?rate=R]` ([`crate::pattern`] content), `PUT` and `POST` (counts the body); see [`http`] |
//! | echo | TCP, `--echo-port` | lines of [`crate::wire`] |
//! | echo | UDP, `--udp-port` | datagrams of [`crate::wire`] |
//!
//! One thread runs everything; tasks end with their connection, or with the process at SIGINT or SIGTERM.

mod args;
mod echo;
mod http;
mod identity;
mod listen;
mod udp;

use std::{rc::Rc, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    task::LocalSet,
};

pub use args::ServeArgs;
use identity::Identity;

use crate::pattern::Pattern;

/// Most connections served at once; more wait in the listen queue. Each takes one descriptor and some 40 KiB, so this
/// keeps a flooded server under a gigabyte.
const MAX_CONNECTIONS: usize = 20_000;
/// Pause after a failed accept (out of descriptors, mostly), which would otherwise be retried at once and for ever.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What every connection shares.
struct Shared {
    identity: Identity,
    pattern: Pattern,
    idle_timeout: Duration,
    slots: Semaphore,
}

/// What is printed on stdout once every socket is bound: one JSON object on one line.
#[derive(Serialize)]
struct Ready {
    identity: String,
    http: Vec<String>,
    echo: Vec<String>,
    udp: Vec<String>,
}

/// Serves until SIGINT or SIGTERM.
pub fn serve(args: &ServeArgs) -> Result<()> {
    crate::limits::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    LocalSet::new().block_on(&runtime, run(args))
}

async fn run(args: &ServeArgs) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let shared = Rc::new(Shared {
        identity: Identity::of_this_process(&args.identity),
        pattern: Pattern::new(),
        idle_timeout: args.idle_timeout,
        slots: Semaphore::new(MAX_CONNECTIONS),
    });
    let mut ready =
        Ready { identity: shared.identity.text().to_owned(), http: Vec::new(), echo: Vec::new(), udp: Vec::new() };

    for address in args.addresses() {
        let only_v6 = !args.dual_stack;
        if let Some(port) = args.http_port {
            let listener = listen::tcp((address, port).into(), only_v6)?;
            ready.http.push(listener.local_addr()?.to_string());
            tokio::task::spawn_local(accept(listener, Rc::clone(&shared), Service::Http));
        }
        if let Some(port) = args.echo_port {
            let listener = listen::tcp((address, port).into(), only_v6)?;
            ready.echo.push(listener.local_addr()?.to_string());
            tokio::task::spawn_local(accept(listener, Rc::clone(&shared), Service::Echo));
        }
        if let Some(port) = args.udp_port {
            let socket = listen::udp((address, port).into(), only_v6, args.udp_naive)?;
            ready.udp.push(socket.local_addr()?.to_string());
            tokio::task::spawn_local(udp::serve(socket, Rc::clone(&shared), args.udp_naive));
        }
    }
    println!("{}", serde_json::to_string(&ready)?);

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Which TCP service a listener gives.
#[derive(Clone, Copy)]
enum Service {
    Http,
    Echo,
}

/// Accepts for ever; each connection is a task of its own.
async fn accept(listener: TcpListener, shared: Rc<Shared>, service: Service) {
    loop {
        let slot = shared.slots.acquire().await.expect("the semaphore is never closed");
        slot.forget();
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Rc::clone(&shared);
                tokio::task::spawn_local(async move {
                    converse(stream, &shared, service).await;
                    shared.slots.add_permits(1);
                });
            }
            Err(error) => {
                shared.slots.add_permits(1);
                eprintln!("probe serve: accept failed, trying again: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection to its end. What goes wrong on it is the client's to report.
async fn converse(stream: TcpStream, shared: &Shared, service: Service) {
    // Answers are small and awaited: waiting to fill a segment would be measured as the network's delay.
    let _ = stream.set_nodelay(true);
    let connection = shared.identity.next_connection();
    let _ = match service {
        Service::Http => http::converse(stream, shared, connection).await,
        Service::Echo => echo::converse(stream, shared, connection).await,
    };
}
