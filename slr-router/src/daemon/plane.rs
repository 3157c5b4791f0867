//! The data plane as the daemon's decisions see it: an edge that a test can record.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use slr_dataplane::router::{Applied, Desired, Router, SweepPolicy, SweepReport, XdpMode};
use slr_model::{NodeName, ServiceKey};

/// Parts of a sweep in one turn of the loop: 32,768 flows, three milliseconds. With a turn each ten, the largest table, 16
/// million flows, is looked through by the time that the next sweep is due.
const SWEEP_PARTS: usize = 4;

/// What is done to the kernel.
pub trait Plane {
    /// Makes the tables say what is desired.
    fn apply(&mut self, desired: &Desired) -> Result<Applied>;
    /// Puts the program on an interface; returns the mode it runs in.
    fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<XdpMode>;
    /// Takes it off.
    fn detach(&mut self, interface: &str) -> Result<()>;
    /// Where it is: interfaces and their indexes.
    fn attached(&self) -> BTreeMap<String, u32>;
    /// Forgets the flows that these hosts have of these services, in one walk; how many those were.
    fn unpin(&mut self, which: &[(NodeName, ServiceKey)]) -> Result<u64>;
    /// New connections pass by the host behind this tunnel while it is in doubt, if they can.
    fn doubt(&mut self, tunnel: IpAddr, is_doubted: bool) -> Result<()>;
    /// Packets that each host was sent so far.
    fn packets(&self) -> Result<BTreeMap<NodeName, u64>>;
    /// Lets `elapsed_s` seconds pass for the flows.
    fn age(&mut self, elapsed_s: u32) -> Result<()>;
    /// Goes on, for some milliseconds, with the walk that forgets flows which were silent for too long. The report is there at
    /// its end.
    fn sweep(&mut self, policy: &SweepPolicy) -> Result<Option<SweepReport>>;
}

impl Plane for Router {
    fn apply(&mut self, desired: &Desired) -> Result<Applied> {
        Ok(Router::apply(self, desired)?)
    }

    fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<XdpMode> {
        Ok(Router::attach(self, interface, mode)?)
    }

    fn detach(&mut self, interface: &str) -> Result<()> {
        Ok(Router::detach(self, interface)?)
    }

    fn attached(&self) -> BTreeMap<String, u32> {
        Router::attached(self).iter().map(|a| (a.interface.clone(), a.ifindex)).collect()
    }

    fn unpin(&mut self, which: &[(NodeName, ServiceKey)]) -> Result<u64> {
        Ok(self.unpin_all(which.iter().map(|(host, service)| (host, service)))?)
    }

    fn doubt(&mut self, tunnel: IpAddr, is_doubted: bool) -> Result<()> {
        Ok(Router::doubt(self, tunnel, is_doubted)?)
    }

    fn packets(&self) -> Result<BTreeMap<NodeName, u64>> {
        Ok(self.hop_packets()?.into_iter().collect())
    }

    fn age(&mut self, elapsed_s: u32) -> Result<()> {
        Ok(self.advance_clock(elapsed_s)?)
    }

    fn sweep(&mut self, policy: &SweepPolicy) -> Result<Option<SweepReport>> {
        Ok(self.sweep_on(policy, SWEEP_PARTS)?)
    }
}
