//! From a host's word to the rings: how long new flows still go to a host that has said "not to me".

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use slr_model::HostState;

use super::rings::{Hop, Rings};
use super::site::{Site, Swarm, address};
use super::swarm::{Command, monotonic_ns};

/// Between two looks at the rings.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// A change that takes longer than this has not arrived.
const WITHIN: Duration = Duration::from_secs(10);

/// What the changes took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Each change, in milliseconds, in the order of time; down and draining take turns.
    pub out_ms: Vec<f64>,
    /// The way back: from "active" until the rings have the host again.
    pub back_ms: Vec<f64>,
    /// The longest time between two looks at the rings while something was waited for: no figure is better than that.
    pub look_ms_max: f64,
}

/// Templates' indexes by tunnel address.
fn hops(site: &Site) -> Result<BTreeMap<IpAddr, Hop>> {
    let hops = site.show("hops")?;
    let hop = |hop: &serde_json::Value| {
        let index = hop["hop"].as_u64().and_then(|index| Hop::try_from(index).ok()).context("a hop has an index")?;
        Ok((hop["address"].as_str().context("a hop has an address")?.parse()?, index))
    };
    hops.as_array().context("hops are a list")?.iter().map(hop).collect()
}

/// One host after the other leaves and comes back.
pub fn measure(site: &Site, swarm: &mut Swarm, hosts: usize, changes: u32) -> Result<Changes> {
    let hops = hops(site)?;
    let rings = site.rings()?;
    let mut done = Changes { out_ms: Vec::new(), back_ms: Vec::new(), look_ms_max: 0.0 };
    for change in 0..changes as usize {
        // Spread over the hosts, and over both families.
        let host = change * 37 % hosts;
        let hop = *hops.get(&address(host)).with_context(|| format!("no template for {}", address(host)))?;
        let state = if change.is_multiple_of(2) { HostState::Down } else { HostState::Draining };
        ensure!(rings.hold(hop), "{} has no slot before it leaves", address(host));
        done.out_ms.push(one(&rings, swarm, host, state, hop, &mut done.look_ms_max)?);
        done.back_ms.push(one(&rings, swarm, host, HostState::Active, hop, &mut done.look_ms_max)?);
    }
    Ok(done)
}

/// Milliseconds from the host's word until the rings have it or not, as that word wants.
fn one(
    rings: &Rings,
    swarm: &mut Swarm,
    host: usize,
    state: HostState,
    hop: Hop,
    look_ms_max: &mut f64,
) -> Result<f64> {
    let wanted = state == HostState::Active;
    swarm.tell(Command::State { host, state })?;
    let (reached, looked) = watch(rings, hop, wanted);
    let said_ns = swarm.answer()?.at_ns;
    *look_ms_max = look_ms_max.max(looked.as_secs_f64() * 1_000.0);
    let Some(reached_ns) = reached else {
        bail!("{} said {state} and the rings have not followed within {WITHIN:?}", address(host))
    };
    ensure!(reached_ns >= said_ns, "the rings changed before the host spoke: something else changes them");
    Ok((reached_ns - said_ns) as f64 / 1e6)
}

/// When all rings hold the hop, or none, and the longest time between two looks.
fn watch(rings: &Rings, hop: Hop, wanted: bool) -> (Option<u64>, Duration) {
    let begin = monotonic_ns();
    let (mut seen, mut last, mut longest) = (BTreeMap::new(), begin, 0);
    loop {
        let now = monotonic_ns();
        longest = longest.max(now - last);
        last = now;
        let descriptors = rings.descriptors();
        if descriptors != seen {
            let is_there = |word: &u64| rings.content(*word).contains(&hop);
            let reached = if wanted { descriptors.values().all(is_there) } else { !descriptors.values().any(is_there) };
            if reached {
                // The look's own time, not that of the end of the search.
                return (Some(now), Duration::from_nanos(longest));
            }
            seen = descriptors;
        }
        if now - begin > WITHIN.as_nanos() as u64 {
            return (None, Duration::from_nanos(longest));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
