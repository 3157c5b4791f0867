//! Questions on the admin socket.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Value;
use slr_daemon::admin::Call;
use slr_model::{FlowKey, HostState, HostTrace, TracedDrop, TracedService};

use super::Daemon;
use crate::drain::Cause;
use crate::recovery::Recovery;
use crate::status::{Counter, Drained, Interface, Peer, Request, Subnet, Topic};

impl Daemon {
    pub(super) async fn answer(&mut self, call: Call) {
        let result = match call.parse::<Request>() {
            Ok(Request::Show(topic)) => self.show(topic),
            Ok(Request::Trace { flow }) => self.trace(flow).and_then(|trace| Ok(serde_json::to_value(trace)?)),
            Ok(Request::Reload) => self.reload().await.and_then(|changed| Ok(serde_json::to_value(changed)?)),
            Ok(Request::Drain) => self.told_to_drain().and_then(|drained| Ok(serde_json::to_value(drained)?)),
            Ok(Request::Undrain) => self.told_to_undrain().and_then(|drained| Ok(serde_json::to_value(drained)?)),
            Ok(Request::TryWays { toward }) => return self.try_ways(toward, call),
            Ok(Request::Capture(order)) => {
                return call.answer(self.capturing.answer(order, &mut self.host, Instant::now()));
            }
            Err(text) => return call.answer(Err::<(), _>(text)),
        };
        call.answer(result.map_err(|error| format!("{error:#}")));
    }

    fn told_to_drain(&mut self) -> Result<Drained> {
        if self.settings.control.is_none() {
            bail!(
                "there is no [control] in the configuration, so no router can be told: drain this host at the routers"
            );
        }
        self.drain(Cause::Operator);
        Ok(self.drained())
    }

    fn told_to_undrain(&mut self) -> Result<Drained> {
        self.undrain().map_err(anyhow::Error::msg)?;
        Ok(self.drained())
    }

    fn show(&mut self, topic: Topic) -> Result<Value> {
        let now = Instant::now();
        Ok(match topic {
            Topic::Subnets => serde_json::to_value(self.subnets()?)?,
            Topic::Interfaces => serde_json::to_value(self.interfaces())?,
            Topic::Counters => serde_json::to_value(self.counters()?)?,
            Topic::Peers => serde_json::to_value(self.peers()?)?,
            Topic::Sessions => serde_json::to_value(self.parents.rows(&self.hearing()))?,
            Topic::Services => serde_json::to_value(self.standing.service_rows(now))?,
            Topic::Load => serde_json::to_value(self.standing.load_rows(now))?,
            Topic::Health => serde_json::to_value(self.standing.health_rows())?,
            Topic::Drain => serde_json::to_value(self.drained())?,
            Topic::Recovery => serde_json::to_value(self.recovery()?)?,
        })
    }

    fn trace(&self, flow: FlowKey) -> Result<HostTrace> {
        let (address, port) = (flow.virtual_host().ip(), flow.virtual_host().port());
        let subnet = self.settings.subnets.iter().map(|subnet| subnet.prefix).find(|subnet| subnet.contains(address));
        let rows = self.standing.service_rows(Instant::now());
        let of_subnet: Vec<_> = rows.iter().filter(|row| Some(row.key.subnet) == subnet).collect();
        let named = of_subnet.iter().find(|row| {
            row.key.service.is_some_and(|service| service.protocol == flow.protocol() && service.port.get() == port)
        });
        let row = named.or_else(|| of_subnet.iter().find(|row| row.key.service.is_none()));
        let service = row.map(|row| TracedService {
            service: row.key,
            state: row.state.parse().unwrap_or(HostState::Down),
            reason: if row.reason.is_empty() { "nothing is wrong".to_owned() } else { row.reason.clone() },
        });
        let (socket, problem) = crate::trace::socket(&flow);
        let mut drops: Vec<_> = self.counters()?;
        drops.retain(|counter| counter.remedy.is_some() && counter.packets > 0);
        drops.sort_by_key(|counter| std::cmp::Reverse(counter.packets));
        let drop = |Counter { reason, packets, meaning, remedy, .. }| TracedDrop { reason, packets, meaning, remedy };
        let drops = drops.into_iter().map(drop).collect();
        Ok(HostTrace { host: self.settings.name.clone(), flow, subnet, service, socket, problem, drops })
    }

    pub(super) fn subnets(&self) -> Result<Vec<Subnet>> {
        let usage: BTreeMap<_, _> = self.host.usage()?.into_iter().map(|usage| (usage.subnet, usage)).collect();
        let served = self.settings.subnets.iter().filter_map(|subnet| Some((subnet, usage.get(&subnet.prefix)?)));
        Ok(served
            .map(|(subnet, usage)| Subnet {
                name: subnet.name.clone(),
                prefix: subnet.prefix,
                interface: subnet.interface.clone(),
                received_packets: usage.received.packets,
                received_bytes: usage.received.bytes,
                sent_packets: usage.sent.packets,
                sent_bytes: usage.sent.bytes,
            })
            .collect())
    }

    fn recovery(&self) -> Result<Recovery> {
        Ok(Recovery::of(&self.echoes.report(), self.host.claim_counts()?))
    }

    fn interfaces(&self) -> Vec<Interface> {
        let v4 = self.settings.tunnel_v4.map(IpAddr::V4);
        let tunnel_addresses: Vec<_> = v4.into_iter().chain(self.settings.tunnel_v6.map(IpAddr::V6)).collect();
        let attached = self.host.attached().iter().map(|attachment| Interface {
            name: attachment.interface.clone(),
            ifindex: attachment.ifindex,
            xdp: attachment.mode.as_str().to_owned(),
            attached: attachment.is_current(),
            tunnel_addresses: tunnel_addresses.clone(),
            mss_v4: self.desired.mss_v4.unwrap_or(0),
            mss_v6: self.desired.mss_v6.unwrap_or(0),
        });
        attached.collect()
    }

    fn counters(&self) -> Result<Vec<Counter>> {
        let counter = |(reason, counter): (slr_dataplane::reason::HostReason, slr_dataplane::host::Counter)| Counter {
            reason: reason.name().to_owned(),
            verdict: reason.verdict().as_str().to_owned(),
            packets: counter.packets,
            bytes: counter.bytes,
            meaning: reason.meaning().to_owned(),
            remedy: crate::remedies::remedy(reason).map(str::to_owned),
        };
        Ok(self.host.counters()?.into_iter().map(counter).collect())
    }

    fn peers(&self) -> Result<Vec<Peer>> {
        let peer = |peer: slr_dataplane::host::PeerStatus| Peer {
            prefix: peer.prefix,
            names: self.peers.names(peer.prefix),
            router: peer.router,
            site_host: peer.site_host,
        };
        Ok(self.host.peers()?.into_iter().map(peer).collect())
    }
}
