//! Members of a cluster tell each other of the flows that they have pinned.

use std::collections::{BTreeMap, BTreeSet};

use slr_model::{FlowKey, NodeName};

use crate::field::{at_most, invalid, node_name, not_zero};
use crate::flows::{self, Packed};
use crate::{DecodeError, bounds, proto};

/// What became of the flows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MirrorKind {
    /// Pinned, and not heard of again so far.
    New,
    /// Pinned, and they have spoken since.
    Proven,
    /// Forgotten: they have ended, or were silent for too long.
    Forgotten,
}

/// A batch of flows of one member, to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// From 1 in each connection, without gaps.
    pub sequence: u64,
    /// Of all its flows.
    pub kind: MirrorKind,
    /// How long its oldest entry has waited at the sender.
    pub age_ms: u32,
    /// With it the receiver has been told of all flows that the sender has.
    pub complete: bool,
    /// Flows that the sender has pinned before this batch are missing: it is late, or tells everything again.
    pub lagging: bool,
    /// By host, at least one flow each, IPv4 first; at most [`bounds::MIRROR_FLOWS_MAX`] in all, or none.
    pub hosts: BTreeMap<NodeName, Vec<FlowKey>>,
}

/// Answers a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorAck {
    /// The last one that was taken; 0: none.
    pub sequence: u64,
    /// Some are missing: all flows are to be told again.
    pub resync: bool,
}

impl Mirror {
    /// How many flows it has.
    pub fn len(&self) -> usize {
        self.hosts.values().map(Vec::len).sum()
    }

    /// Whether it has none: it only says that all were told.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    pub(crate) fn read(found: proto::Mirror) -> Result<Self, DecodeError> {
        let kind = match found.kind() {
            proto::MirrorKind::New => MirrorKind::New,
            proto::MirrorKind::Proven => MirrorKind::Proven,
            proto::MirrorKind::Forgotten => MirrorKind::Forgotten,
            proto::MirrorKind::Unspecified => return Err(invalid("mirror.kind", format!("{} is none", found.kind))),
        };
        let field = "mirror.hosts";
        at_most(field, found.hosts.len(), bounds::MIRROR_FLOWS_MAX)?;
        let (mut names, mut all) = (BTreeSet::new(), 0);
        for of in &found.hosts {
            let count = flows::count("mirror.hosts.flows", &of.flows_v4, &of.flows_v6)?;
            if count == 0 {
                return Err(DecodeError::Missing { field: "mirror.hosts.flows" });
            }
            all += count;
            if !names.insert(&of.host) {
                return Err(DecodeError::Duplicate { field, what: node_name(field, &of.host)?.to_string() });
            }
        }
        at_most("mirror.hosts.flows", all, bounds::MIRROR_FLOWS_MAX)?;
        let read = |of: &proto::mirror::HostFlows| {
            let flows = flows::read("mirror.hosts.flows", &of.flows_v4, &of.flows_v6)?;
            Ok((node_name("mirror.hosts.host", &of.host)?, flows))
        };
        Ok(Self {
            sequence: not_zero("mirror.sequence", found.sequence)?,
            kind,
            age_ms: found.age_ms,
            complete: found.complete,
            lagging: found.lagging,
            hosts: found.hosts.iter().map(read).collect::<Result<_, DecodeError>>()?,
        })
    }

    pub(crate) fn write(&self) -> proto::Mirror {
        let kind = match self.kind {
            MirrorKind::New => proto::MirrorKind::New,
            MirrorKind::Proven => proto::MirrorKind::Proven,
            MirrorKind::Forgotten => proto::MirrorKind::Forgotten,
        };
        let hosts = self.hosts.iter().map(|(host, flows)| {
            let mut packed = Packed::default();
            flows.iter().for_each(|flow| packed.push(flow));
            proto::mirror::HostFlows { host: host.to_string(), flows_v4: packed.v4, flows_v6: packed.v6 }
        });
        proto::Mirror {
            sequence: self.sequence,
            kind: kind.into(),
            age_ms: self.age_ms,
            complete: self.complete,
            lagging: self.lagging,
            hosts: hosts.collect(),
        }
    }
}

impl MirrorAck {
    pub(crate) fn read(found: proto::MirrorAck) -> Self {
        Self { sequence: found.sequence, resync: found.resync }
    }

    pub(crate) fn write(self) -> proto::MirrorAck {
        proto::MirrorAck { sequence: self.sequence, resync: self.resync }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    const V4: [u8; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 6];

    #[test]
    fn what_is_no_batch_is_refused() {
        let host = |name: &str, flows: usize| proto::mirror::HostFlows {
            host: name.into(),
            flows_v4: V4.repeat(flows),
            flows_v6: Vec::new(),
        };
        let good = proto::Mirror {
            sequence: 1,
            kind: 1,
            age_ms: 0,
            complete: false,
            lagging: false,
            hosts: vec![host("h1", 511), host("h2", 1)],
        };
        assert_eq!(Mirror::read(good.clone()).unwrap().len(), 512);
        let refused = |change: &dyn Fn(&mut proto::Mirror)| {
            let mut bad = good.clone();
            change(&mut bad);
            Mirror::read(bad).unwrap_err().to_string()
        };
        assert!(refused(&|batch| batch.sequence = 0).contains("mirror.sequence"));
        assert!(refused(&|batch| batch.kind = 0).contains("mirror.kind"));
        assert!(refused(&|batch| batch.kind = 4).contains("mirror.kind"));
        assert!(refused(&|batch| batch.hosts[1] = host("h2", 2)).contains("513"));
        assert!(refused(&|batch| batch.hosts[1] = host("h1", 1)).contains("h1"));
        assert!(refused(&|batch| batch.hosts[1] = host("h2", 0)).contains("mirror.hosts.flows"));
        assert!(refused(&|batch| batch.hosts[1] = host("H_2", 1)).contains("mirror.hosts.host"));
        assert!(refused(&|batch| batch.hosts[1].flows_v4[9] = 0).contains("port 0"));
        let empty = proto::Mirror { hosts: Vec::new(), complete: true, ..good };
        assert!(Mirror::read(empty).unwrap().is_empty());
    }

    #[test]
    fn the_largest_batch_fits_a_frame() {
        let flow = |n: u16| format!("udp [2001:db8::7]:{} > [2001:db8:1::9]:53", n + 1).parse::<FlowKey>().unwrap();
        let name = |n: u16| format!("{n:063}").parse::<NodeName>().unwrap();
        let hosts = (0..bounds::MIRROR_FLOWS_MAX as u16).map(|n| (name(n), vec![flow(n)])).collect();
        let kind = MirrorKind::Proven;
        let batch = Mirror { sequence: u64::MAX, kind, age_ms: u32::MAX, complete: true, lagging: true, hosts };
        let frame = Message::Mirror(batch.clone()).encode_frame().unwrap();
        assert_eq!(Message::decode(&frame[4..]), Ok(Message::Mirror(batch)));
    }
}
