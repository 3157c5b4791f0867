//! `show recovery`.

use std::collections::BTreeMap;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use slr_daemon::table::Table;
use slr_dataplane::reason::RouterReason;
use slr_dataplane::router::{Mirrored, Router};
use slr_session::half_open;

use crate::daemon::Searching;
use crate::recovery::{Adverts, Claims};

/// The answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// Packets of flows that were not remembered, by what was done with them.
    pub orphans: Orphans,
    /// Flows that each rung of the ladder brought back.
    pub rungs: Rungs,
    /// Flows that hosts claimed.
    pub claims: ClaimRows,
    /// Flows that other members of the cluster told of.
    pub mirrored: ClaimRows,
    /// Flows that other routers were asked about.
    pub search: Search,
    /// Flows that hosts told of by way of their clients.
    pub adverts: AdvertRows,
    /// Connections of hosts that are down.
    pub half_open: HalfOpenRows,
    /// Epoch of the keys that this is signed with; `None`: without [control].
    pub flow_epoch: Option<u32>,
}

/// In packets.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Orphans {
    /// Sent through the hosts of their slot.
    pub chain: u64,
    /// Sent where the ring points.
    pub ring: u64,
    /// Dropped.
    pub dropped: u64,
    /// A chain that ended here: this router knew the flow.
    pub chain_end: u64,
    /// Held here at the end of a chain.
    pub held: u64,
    /// Not held, since too many were.
    pub limited: u64,
    /// Datagrams of UDP flows that were not held, since too many were: sent where the ring points.
    pub unasked: u64,
}

/// In flows, but for the last three, which are packets.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Search {
    pub found: u64,
    pub nobody: u64,
    pub unanswered: u64,
    /// Their hosts told of them while they were held.
    pub told: u64,
    /// Looked for at once: too many.
    pub refused: u64,
    /// What others asked about, and a host here has.
    pub answered: u64,
    /// What others asked about in vain.
    pub denied: u64,
    /// UDP flows that no router knew in time: placed, and pinned.
    pub placed: u64,
    /// Went on, to draw a reset.
    pub finals: u64,
    /// Had no way.
    pub lost: u64,
    /// Datagrams for which the daemon had no room: sent where the ring points.
    pub unheld: u64,
}

/// In flows. A flow whose host is not asked to claim it, since it speaks rarely, is counted with its packets alone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rungs {
    /// Told of by another member of the cluster, and gone on here.
    pub mirror: u64,
    /// Searched for, and claimed by the host that their slot has now: the ring's answer was right.
    pub same_answer: u64,
    /// Searched for, and claimed by another host: one that their slot had before, or of a new connection its second choice.
    pub chain: u64,
    /// Found by asking other routers, and pinned.
    pub whohas: u64,
    /// Told of by their host, by way of their client.
    pub echo: u64,
}

/// In flows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimRows {
    /// Pinned to the host that claimed them, or that the other member said.
    pub pinned: u64,
    /// Pinned there already: their claim came twice, or by more ways than one.
    pub known: u64,
    /// By reason.
    pub refused: BTreeMap<String, u64>,
}

/// In flows, but for what was sent on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AdvertRows {
    /// Pinned to the host that told of them.
    pub pinned: u64,
    /// Pinned there already.
    pub known: u64,
    /// Clients' answers that went on to their hosts, in packets.
    pub sent_on: u64,
    /// By reason.
    pub refused: BTreeMap<String, u64>,
}

/// Of hosts that are down.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HalfOpenRows {
    /// Segments that clients were sent, so that they speak and their connection ends; up to two of a connection.
    pub nudged: u64,
    /// Connections that were too many at once.
    pub refused: u64,
}

/// What the daemon knows.
pub fn answer(
    router: &Router,
    claims: &Claims,
    mirrored: &Mirrored,
    searching: &Searching,
    adverts: &Adverts,
    half_open: half_open::Counters,
    flow_epoch: Option<u32>,
) -> Result<Value> {
    let (search, sent) = searching.counters();
    let packets: BTreeMap<RouterReason, u64> =
        router.reasons()?.into_iter().map(|(reason, counter)| (reason, counter.packets)).collect();
    let of = |reason| packets.get(&reason).copied().unwrap_or_default();
    let pinned = claims.data_plane.pinned;
    let [(_, same_answer), (_, chain)] = claims.found();
    Ok(serde_json::to_value(Recovery {
        orphans: Orphans {
            chain: of(RouterReason::FwdOrphanChain),
            ring: of(RouterReason::FwdOrphanRing),
            dropped: of(RouterReason::DropOrphan),
            chain_end: of(RouterReason::FwdChainEnd),
            held: of(RouterReason::DropOrphanHeld),
            limited: of(RouterReason::DropOrphanLimit),
            unasked: of(RouterReason::FwdSearchLimit),
        },
        rungs: Rungs { mirror: router.carried_on()?, same_answer, chain, whohas: sent.pinned, echo: adverts.pinned() },
        claims: ClaimRows {
            pinned,
            known: claims.data_plane.known,
            refused: claims.refused().map(|(why, flows)| (why.to_owned(), flows)).into(),
        },
        mirrored: ClaimRows {
            pinned: mirrored.pinned,
            known: mirrored.known,
            refused: mirrored.refused().map(|(why, flows)| (why.to_owned(), flows)).into(),
        },
        adverts: AdvertRows {
            pinned: adverts.pinned(),
            known: adverts.claims.data_plane.known,
            sent_on: adverts.sent_on,
            refused: adverts.refused().map(|(why, flows)| (why.to_owned(), flows)).into(),
        },
        half_open: HalfOpenRows { nudged: half_open.nudged, refused: half_open.refused },
        flow_epoch,
        search: Search {
            found: search.found,
            nobody: search.nobody,
            unanswered: search.unanswered,
            told: search.told,
            refused: search.refused,
            answered: sent.answered,
            denied: sent.denied,
            placed: sent.placed,
            finals: sent.finals,
            lost: sent.lost,
            unheld: sent.unheld,
        },
    })?)
}

/// For people.
pub fn table(answer: &Recovery) -> String {
    let mut table = Table::new(["what", "count", "unit"]);
    let Recovery { orphans, rungs, claims, mirrored, search, adverts, half_open, flow_epoch } = answer;
    for (what, count, unit) in [
        ("orphans sent through the hosts of their slot", orphans.chain, "packets"),
        ("orphans sent where the ring points", orphans.ring, "packets"),
        ("orphans dropped", orphans.dropped, "packets"),
        ("chains that ended here, the flow known", orphans.chain_end, "packets"),
        ("chains that ended here, other routers asked", orphans.held, "packets"),
        ("chains that ended here, too many to ask", orphans.limited, "packets"),
        ("datagrams placed unasked, too many to ask", orphans.unasked + search.unheld, "packets"),
        ("flows of other members of the cluster that went on here", rungs.mirror, "flows"),
        ("flows searched for that the ring's own answer found, pinned", rungs.same_answer, "flows"),
        ("flows searched for that another host of their slot had, pinned", rungs.chain, "flows"),
        ("flows found by asking other routers and pinned", rungs.whohas, "flows"),
        ("flows that their hosts told of by way of their clients, pinned", rungs.echo, "flows"),
        ("the same, pinned there already", adverts.known, "flows"),
        ("clients' answers sent on to those hosts", adverts.sent_on, "packets"),
        ("flows that all other routers denied", search.nobody, "flows"),
        ("flows that not all other routers answered about", search.unanswered, "flows"),
        ("flows that their hosts told of while a packet was held", search.told, "flows"),
        ("flows that were too many to look for", search.refused, "flows"),
        ("UDP flows that no other router knew, placed", search.placed, "flows"),
        ("packets sent on as final", search.finals, "packets"),
        ("packets held in vain", search.lost, "packets"),
        ("flows that others asked about, known", search.answered, "flows"),
        ("flows that others asked about, not known", search.denied, "flows"),
        ("clients of hosts that went down, asked to speak so that their connection ends", half_open.nudged, "packets"),
        ("the same, too many at once", half_open.refused, "flows"),
        ("claims of flows that were pinned there already", claims.known, "flows"),
        ("flows that other members of the cluster told of, pinned", mirrored.pinned, "flows"),
    ] {
        table.row([what.to_owned(), count.to_string(), unit.to_owned()]);
    }
    for (why, count) in &claims.refused {
        table.row([format!("claims refused: {why}"), count.to_string(), "flows".to_owned()]);
    }
    for (why, count) in &adverts.refused {
        table.row([
            format!("flows told of by way of their clients, refused: {why}"),
            count.to_string(),
            "flows".to_owned(),
        ]);
    }
    if let Some(epoch) = flow_epoch {
        table.row(["epoch of the keys that these are signed with".to_owned(), epoch.to_string(), String::new()]);
    }
    for (why, count) in &mirrored.refused {
        table.row([format!("mirrored flows refused: {why}"), count.to_string(), "flows".to_owned()]);
    }
    table.to_string()
}
