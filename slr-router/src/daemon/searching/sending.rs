//! What was held goes on: to the host that another router names, through that router, or where the ring points.

use std::net::IpAddr;
use std::time::Instant;

use slr_dataplane::router::Orphan;
use slr_model::{FlowKey, NodeName, Protocol};

use super::super::Daemon;
use crate::tunnel::{FINAL, Label};

/// What became of what was held, beyond [`slr_session::search::Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Flows that are pinned to where another router said.
    pub pinned: u64,
    /// UDP flows that no router knew in time, pinned to where the ring points.
    pub placed: u64,
    /// Datagrams for which there was no room, sent where the ring points.
    pub unheld: u64,
    /// Packets that went on marked final: nobody has their flow.
    pub finals: u64,
    /// Packets without a way: their place has changed, the named host is not known here, or the kernel refused them.
    pub lost: u64,
    /// Flows that others asked about, and that a host here has.
    pub answered: u64,
    /// Flows that others asked about, and that nobody here has, or that are none of theirs.
    pub denied: u64,
}

impl Daemon {
    /// The program gives orphans and datagrams. A flow may have been pinned while these were on their way here: a segment is
    /// sent again then, a datagram follows at once.
    pub(in super::super) fn hold(&mut self, orphans: Vec<Orphan>) {
        let now = Instant::now();
        for orphan in orphans {
            let (flow, len) = (orphan.flow, orphan.datagram.len());
            match self.way_of_datagram(&flow) {
                Some(to) => {
                    self.send_final(to, &orphan);
                }
                None if orphan.hop == 0 => self.searching.search.keep(now, flow, orphan, len),
                None => self.searching.search.hold(now, flow, orphan, len),
            }
        }
    }

    /// A flow's host has told of it, by way of its client: what is held of it goes there.
    pub(in super::super) fn told(&mut self, flow: &FlowKey, to: IpAddr) {
        for packet in self.searching.search.told(flow) {
            self.send_final(to, &packet);
        }
    }

    fn way_of_datagram(&self, flow: &FlowKey) -> Option<IpAddr> {
        if flow.protocol() != Protocol::Udp {
            return None;
        }
        self.core.plane().way_of(flow).ok()?
    }

    /// A router has named the host: the flow goes there, if it is a hop of ours; else through the router that knows it.
    pub(super) fn found(&mut self, flow: FlowKey, router: NodeName, host: NodeName, packets: &[Orphan]) {
        let plane = self.core.plane();
        let known = [host, router].into_iter().find_map(|name| Some((plane.address_of(&name)?, name)));
        match known {
            Some((to, name)) => self.searching.sent.pinned += self.conclude_search(flow, &name, to, packets),
            None if flow.protocol() == Protocol::Udp => self.nobody(flow, packets),
            None => self.searching.sent.lost += packets.len() as u64,
        }
    }

    /// No router knows the flow, or not all have said in time. A segment draws its reset; a UDP flow is placed, as new ones are,
    /// and pinned, so that its next datagram is not asked about.
    pub(super) fn nobody(&mut self, flow: FlowKey, packets: &[Orphan]) {
        if flow.protocol() == Protocol::Udp {
            let place = packets.first().and_then(|first| self.core.plane().place_of(first));
            let Some((to, name)) = place.map(|host| (host.address, host.name.clone())) else {
                self.searching.sent.lost += packets.len() as u64;
                return;
            };
            self.searching.sent.placed += self.conclude_search(flow, &name, to, packets);
        } else {
            let sent = packets.iter().filter(|packet| self.place(packet)).count();
            self.searching.sent.finals += sent as u64;
        }
    }

    /// There is no room for a datagram. It makes no pin: the program has its flow pending, and goes on as it does for new ones.
    pub(super) fn unheld(&mut self, packet: &Orphan) {
        self.searching.sent.unheld += u64::from(self.place(packet));
    }

    /// Pins a flow to where it was found or placed, and sends on what was held: first the pin, then the packets in their order. What
    /// comes between is the program's, and may overtake them by microseconds; what the program gave out before comes to
    /// [`Daemon::hold`]. How many flows are pinned now that were not.
    fn conclude_search(&mut self, flow: FlowKey, name: &NodeName, to: IpAddr, packets: &[Orphan]) -> u64 {
        let plane = self.core.plane();
        let (to, pinned) = match plane.pin_found(name, flow) {
            // A host has claimed it meanwhile.
            Ok(done) if done.owned > 0 => (plane.way_of(&flow).ok().flatten().unwrap_or(to), 0),
            Ok(done) => (to, done.pinned),
            Err(error) => {
                tracing::warn!(host = %name, "a flow that was looked for is not pinned: {error}");
                (to, 0)
            }
        };
        if pinned > 0 {
            self.mirrors.claimed(name, &[flow], Instant::now());
        }
        for packet in packets {
            self.send_final(to, packet);
        }
        pinned
    }

    /// Sends a packet where the ring pointed.
    fn place(&mut self, packet: &Orphan) -> bool {
        let to = self.core.plane().place_of(packet).map(|host| host.address);
        to.is_some_and(|to| self.send_final(to, packet))
    }

    fn send_final(&mut self, to: IpAddr, packet: &Orphan) -> bool {
        let sources = self.core.in_force().map(|loaded| loaded.settings.sources.as_slice()).unwrap_or_default();
        let label = Label { entropy: packet.entropy, mark: FINAL };
        let sent = self.searching.sender.send(sources, to, &packet.datagram, label);
        if let Err(error) = &sent {
            self.searching.sent.lost += 1;
            tracing::debug!(%to, "a packet that was held is lost: {error}");
        }
        sent.is_ok()
    }
}
