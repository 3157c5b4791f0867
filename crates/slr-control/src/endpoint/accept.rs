//! Taking connections: limits first, then the handshake, then the one stream.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, ConnectionError, Incoming};
use slr_wire::Code;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Shared;
use super::guard::Watched;
use super::limits::SourceLimits;
use crate::line::{Line, close};
use crate::{Certificate, Ending};

/// Handshakes at the same time. Each holds some tens of kilobytes and up to [`HANDSHAKE_WITHIN`].
const HANDSHAKES_MAX: usize = 256;
/// From so many on, a source must show that it receives at its address before anything is computed for it (RFC 9000 8.1).
const RETRY_FROM: usize = 32;
/// The handshake, and the stream after it, take no longer.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
const STREAM_WITHIN: Duration = Duration::from_secs(3);
/// Lines about refused handshakes in a log, and again so many each [`LOG_PERIOD`]: strangers must not fill a disk.
const LOG_BURST: u32 = 20;
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// What the accepting end has to tell.
pub(crate) enum Accepted {
    /// A node whose certificate is good and fits the rule, with its stream.
    Open(Line),
    /// A handshake that was refused, by either side.
    Refused { remote: SocketAddr, ending: Ending },
}

/// What was turned away, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptCounters {
    /// Connections that were taken.
    pub accepted: u64,
    /// Handshakes that failed, by either side's decision.
    pub refused: u64,
    /// Handshakes ignored because their source began too many.
    pub limited: u64,
    /// Handshakes ignored because too many were under way.
    pub busy: u64,
    /// Handshakes refused because there are as many connections as there may be.
    pub full: u64,
}

/// What the accept loops of an endpoint's sockets have in common.
pub(super) struct Door {
    limits: Mutex<SourceLimits>,
    handshakes: Arc<Semaphore>,
    counters: Mutex<AcceptCounters>,
    log: Mutex<(Instant, u32)>,
    connections_max: usize,
}

impl Door {
    pub fn new(per_s: u32, burst: u32, connections_max: usize) -> Self {
        Self {
            limits: Mutex::new(SourceLimits::new(per_s, burst)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            counters: Mutex::default(),
            log: Mutex::new((Instant::now(), 0)),
            connections_max,
        }
    }

    pub fn counters(&self) -> AcceptCounters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, add: impl FnOnce(&mut AcceptCounters)) {
        add(&mut self.counters.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether another line may be logged now.
    fn may_log(&self, now: Instant) -> bool {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(log.0) >= LOG_PERIOD {
            *log = (now, 0);
        }
        log.1 += 1;
        log.1 <= LOG_BURST
    }
}

/// Takes connections on one socket until the endpoint closes.
pub(super) async fn run(shared: Arc<Shared>, socket: quinn::Endpoint, accepted: mpsc::Sender<Accepted>) {
    while let Some(incoming) = socket.accept().await {
        let door = &shared.door;
        let (source, now) = (incoming.remote_address().ip(), Instant::now());
        if !door.limits.lock().unwrap_or_else(PoisonError::into_inner).take(source, now) {
            // Silence costs us nothing, and an honest node tries again by itself.
            door.count(|counters| counters.limited += 1);
            incoming.ignore();
            continue;
        }
        if shared.guard.accepted() >= door.connections_max {
            door.count(|counters| counters.full += 1);
            if door.may_log(now) {
                warn!(%source, "connection refused: there are {} already, as many as may be", door.connections_max);
            }
            incoming.refuse();
            continue;
        }
        let under_way = HANDSHAKES_MAX - door.handshakes.available_permits();
        if under_way >= RETRY_FROM && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = door.handshakes.clone().try_acquire_owned() else {
            door.count(|counters| counters.busy += 1);
            incoming.ignore();
            continue;
        };
        let (shared, accepted) = (shared.clone(), accepted.clone());
        tokio::spawn(async move {
            let remote = incoming.remote_address();
            let outcome = open(&shared, incoming).await;
            drop(permit);
            let told = match outcome {
                Ok(line) => {
                    shared.door.count(|counters| counters.accepted += 1);
                    Accepted::Open(line)
                }
                Err(ending) => {
                    shared.door.count(|counters| counters.refused += 1);
                    if shared.door.may_log(Instant::now()) {
                        warn!(%remote, "connection refused: {ending}");
                    }
                    Accepted::Refused { remote, ending }
                }
            };
            if accepted.send(told).await.is_err() {
                debug!("nobody takes connections any more");
            }
        });
    }
}

/// The handshake and the stream.
async fn open(shared: &Arc<Shared>, incoming: Incoming) -> Result<Line, Ending> {
    let failed = |error: ConnectionError| Ending::of_connection(&error);
    let connecting = incoming.accept().map_err(failed)?;
    let handshake = timeout(HANDSHAKE_WITHIN, connecting).await;
    let connection = handshake.map_err(|_| slow("handshake", HANDSHAKE_WITHIN))?.map_err(failed)?;
    let (certificate, own_ending) = admit(shared, &connection, true)?;
    match timeout(STREAM_WITHIN, connection.accept_bi()).await {
        Ok(Ok(stream)) => Ok(Line::new(connection, stream, own_ending, certificate)),
        Ok(Err(error)) => Err(own_ending.get().cloned().unwrap_or_else(|| failed(error))),
        Err(_) => {
            let ending = slow("stream", STREAM_WITHIN);
            close(&connection, Code::HelloTimeout, &ending.to_string());
            Err(ending)
        }
    }
}

fn slow(what: &str, within: Duration) -> Ending {
    let why = format!("no {what} within {} s", within.as_secs());
    Ending::new(Code::HelloTimeout, why, "see whether the other node is overloaded, or the path loses packets")
}

/// Reads the certificate of a connection whose handshake is done, and has it watched.
pub(super) fn admit(
    shared: &Arc<Shared>,
    connection: &Connection,
    accepted: bool,
) -> Result<(Arc<Certificate>, crate::line::OwnEnding), Ending> {
    let certificate = certificate_of(connection)?;
    // It was good in the handshake; the files may have changed since.
    if let Err((code, refusal)) = shared.trust.current().check(&certificate, std::time::SystemTime::now()) {
        let ending = Ending::refused(code, refusal);
        close(connection, code, &ending.to_string());
        return Err(ending);
    }
    let own_ending = Arc::new(OnceLock::new());
    shared.guard.watch(Watched {
        connection: connection.clone(),
        certificate: certificate.clone(),
        own_ending: own_ending.clone(),
        accepted,
    });
    Ok((certificate, own_ending))
}

fn certificate_of(connection: &Connection) -> Result<Arc<Certificate>, Ending> {
    let chain = connection.peer_identity();
    let chain = chain.and_then(|any| any.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok());
    let leaf = chain.as_ref().and_then(|chain| chain.first());
    let read = leaf.map(|leaf| Certificate::from_der(leaf));
    match read {
        Some(Ok(certificate)) => Ok(Arc::new(certificate)),
        // The verifier read the same bytes before.
        _ => Err(Ending::new(Code::Internal, "the certificate is gone after the handshake", "")),
    }
}
