//! `show mirror`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_daemon::table::Table;

use super::tables::or_sentence;
use crate::daemon::Mirrors;

/// The answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mirror {
    /// New pins that the program had no room to tell of, since the daemon started: everything was told again.
    pub records_lost: u64,
    /// Every peer that there was a session with.
    pub peers: Vec<Peer>,
}

/// A member of the cluster.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    pub name: String,
    /// What it is told.
    pub told: Told,
    /// What it tells.
    pub heard: Heard,
}

/// Flows of this router, at the peer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// `warm`: it has all of them; `lagging`: some are late; `cold`: not told yet.
    pub state: String,
    pub sequence: u64,
    /// Batches without an answer.
    pub unanswered: usize,
    /// Flows that wait.
    pub queue: usize,
    pub flows_sent: u64,
    pub resyncs: u64,
    /// From the pin to the peer's answer, in the last minute.
    pub lag_ms_p50: Option<f64>,
    pub lag_ms_p99: Option<f64>,
    pub lag_ms_max: Option<f64>,
}

/// Flows of the peer, here.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// As in [`Told`].
    pub state: String,
    pub sequence: u64,
    pub gaps: u64,
    /// How long the oldest flow of the last batch had waited at the peer.
    pub age_ms: u32,
    /// Flows.
    pub pinned: u64,
    pub known: u64,
    pub forgotten: u64,
    /// By reason.
    pub refused: BTreeMap<String, u64>,
}

/// What the daemon knows.
pub fn answer(mirrors: &Mirrors, now: Instant) -> Mirror {
    let ms = |lag: Option<Duration>| lag.map(|lag| lag.as_micros() as f64 / 1_000.0);
    let peers = mirrors.peers.iter().map(|(name, peer)| {
        let (told, heard, received) = (mirrors.told(peer, now), peer.listener.view(), peer.received);
        Peer {
            name: name.to_string(),
            told: Told {
                state: told.state.as_str().to_owned(),
                sequence: told.sequence,
                unanswered: told.unanswered,
                queue: told.queue,
                flows_sent: told.flows_sent,
                resyncs: told.resyncs,
                lag_ms_p50: ms(told.lag.p50),
                lag_ms_p99: ms(told.lag.p99),
                lag_ms_max: ms(told.lag.max),
            },
            heard: Heard {
                state: heard.state.as_str().to_owned(),
                sequence: heard.sequence,
                gaps: heard.gaps,
                age_ms: heard.age_ms,
                pinned: received.pinned,
                known: received.known,
                forgotten: received.forgotten,
                refused: received.refused().map(|(why, flows)| (why.to_owned(), flows)).into(),
            },
        }
    });
    Mirror { records_lost: mirrors.lost, peers: peers.collect() }
}

/// For people.
pub fn table(answer: &Mirror) -> String {
    let mut table =
        Table::new(["peer", "direction", "state", "sequence", "queue", "flows", "lag p50/p99/max ms", "refused"]);
    let ms = |lag: Option<f64>| lag.map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1}"));
    for Peer { name, told, heard } in &answer.peers {
        table.row([
            name.clone(),
            "told".to_owned(),
            told.state.clone(),
            told.sequence.to_string(),
            told.queue.to_string(),
            told.flows_sent.to_string(),
            [told.lag_ms_p50, told.lag_ms_p99, told.lag_ms_max].map(ms).join("/"),
            "-".to_owned(),
        ]);
        let refused: Vec<String> = heard
            .refused
            .iter()
            .filter(|(_, flows)| **flows > 0)
            .map(|(why, flows)| format!("{why} {flows}"))
            .collect();
        table.row([
            name.clone(),
            "heard".to_owned(),
            heard.state.clone(),
            heard.sequence.to_string(),
            "-".to_owned(),
            (heard.pinned + heard.known).to_string(),
            "-".to_owned(),
            refused.join(" "),
        ]);
    }
    let peers = or_sentence(&table, "No session with another member of the cluster yet.");
    format!("{peers}\nrecords lost: {}", answer.records_lost)
}
