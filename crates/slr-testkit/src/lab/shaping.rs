//! Changing links while a lab is up.

use super::Lab;
use super::plan::{EMULATOR_NODE, emulator_interfaces};
use super::state::netns_path;
use crate::emulator::ShapeChange;
use crate::emulator::control::{DirectionReport, LinkReport, Request, ask};
use crate::netns::NetNs;
use crate::topology::Link;
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// A change to the emulation of a link; what is not named stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Shaping {
    change: ShapeChange,
    from: Option<String>,
}

impl Shaping {
    /// Everything back to a perfect link.
    #[must_use]
    pub fn clear() -> Self {
        Self::default().delay(Duration::ZERO).loss(0.0).rate(0).blackhole(false)
    }

    /// One-way delay; a link shaped both ways adds twice this to the round-trip time.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.change.delay_us = Some(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
        self
    }

    /// Probability of a loss, 0 to 1.
    #[must_use]
    pub fn loss(mut self, probability: f64) -> Self {
        self.change.loss = Some(probability);
        self
    }

    /// Bits per second; 0 is unlimited.
    #[must_use]
    pub fn rate(mut self, bits_per_second: u64) -> Self {
        self.change.rate_bps = Some(bits_per_second);
        self
    }

    /// Swallow everything while the carrier stays up: what a power failure behind a switch looks like.
    #[must_use]
    pub fn blackhole(mut self, on: bool) -> Self {
        self.change.blackhole = Some(on);
        self
    }

    /// Only the direction that leaves `node`.
    #[must_use]
    pub fn only_from(mut self, node: &str) -> Self {
        self.from = Some(node.to_owned());
        self
    }
}

impl Lab {
    /// Changes the emulation of the link between two nodes, from now on.
    pub fn shape(&self, one: &str, other: &str, shaping: Shaping) -> Result<()> {
        if self.link_between(one, other)?.1.direct {
            bail!("the link {one}-{other} is direct: it has no emulator");
        }
        let Shaping { change, from } = shaping;
        let request = Request::Change { a: one.to_owned(), b: other.to_owned(), from, change };
        ask(&self.dir.control_socket(), &request).with_context(|| format!("change the link {one}-{other}"))?;
        Ok(())
    }

    /// The emulated links, with the emulation in force and what happened to their frames.
    pub fn links(&self) -> Result<Vec<LinkReport>> {
        ask(&self.dir.control_socket(), &Request::Show)
    }

    /// What happens on the direction of a link that leaves `from` towards `to`.
    pub fn direction(&self, from: &str, to: &str) -> Result<DirectionReport> {
        let found = self.links()?.into_iter().find_map(|link| {
            match (link.a == from && link.b == to, link.a == to && link.b == from) {
                (true, _) => Some(link.a_to_b),
                (_, true) => Some(link.b_to_a),
                _ => None,
            }
        });
        found.with_context(|| format!("no emulated link between {from} and {to}"))
    }

    /// Sets the MTU (bytes of an IP packet) of both ends of a link, and of the emulator's ends between them.
    pub fn set_mtu(&self, one: &str, other: &str, mtu: u16) -> Result<()> {
        let (index, link) = self.link_between(one, other)?;
        let [a, b] = link.interfaces();
        let mut ends = vec![(link.a.node.as_str(), a), (link.b.node.as_str(), b)];
        if !link.direct {
            ends.extend(emulator_interfaces(index).map(|interface| (EMULATOR_NODE, interface)));
        }
        for (node, interface) in ends {
            let netns = NetNs::open(netns_path(self.run(), node))?;
            netns.ip(&format!("link set dev {interface} mtu {mtu}"))?;
        }
        Ok(())
    }

    fn link_between(&self, one: &str, other: &str) -> Result<(usize, &Link)> {
        self.require_node(one)?;
        self.require_node(other)?;
        let links = &self.topology().links;
        let joins =
            |link: &Link| (link.a.node == one && link.b.node == other) || (link.a.node == other && link.b.node == one);
        let index = links.iter().position(joins).with_context(|| {
            let names: Vec<String> = links.iter().map(Link::name).collect();
            format!("no link joins {one} and {other}; there are {}", names.join(", "))
        })?;
        Ok((index, &links[index]))
    }
}
