//! The keys that routers have granted: for each virtual subnet the newest, with the epoch and the tunnel address that it is for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use slr_model::{FlowKey, KeyMask, NodeName};
use slr_wire::{AdvertKey, FlowAdvert, FlowKeyGrant, FlowKeys};

/// This host's keys.
pub struct Keys {
    node: NodeName,
    /// As each router granted them last. Routers of one trust domain grant the same; one that has not rotated yet, older ones.
    granted: BTreeMap<NodeName, FlowKeys>,
}

impl Keys {
    /// None yet.
    pub fn of(node: NodeName) -> Self {
        Self { node, granted: BTreeMap::new() }
    }

    /// A router grants.
    pub fn grant(&mut self, router: NodeName, keys: FlowKeys) {
        self.granted.insert(router, keys);
    }

    /// Epoch of the newest.
    pub fn epoch(&self) -> Option<u32> {
        self.granted.values().map(|keys| keys.epoch).max()
    }

    /// What an echo says of these flows, which are of one client and one virtual address, and what signs it; `None`: no key.
    pub fn advert(&self, serial: u64, flows: &[FlowKey]) -> Option<(FlowAdvert, AdvertKey)> {
        let first = flows.first()?;
        let at = first.virtual_host().ip();
        let (epoch, grant) = self.newest(|grant| grant.subnet.contains(&at))?;
        let advert = FlowAdvert {
            client: first.client().ip(),
            virtual_address: at,
            prefix_len: grant.subnet.prefix_len(),
            server: grant.server,
            node: self.node.clone(),
            epoch,
            serial,
            mask: KeyMask::ALL,
            flows: flows
                .iter()
                .map(|flow| (flow.client().port(), flow.virtual_host().port(), flow.protocol()))
                .collect(),
        };
        Some((advert, grant.key()))
    }

    /// Whether these bytes are an advertisement of this host, of whichever epoch it still has.
    pub fn own(&self, bytes: &[u8; FlowAdvert::LEN]) -> Option<FlowAdvert> {
        let advert = FlowAdvert::decode(bytes).ok().filter(|advert| advert.node == self.node)?;
        let grants = self.granted.values().filter(|keys| keys.epoch == advert.epoch).flat_map(|keys| &keys.keys);
        let mut fitting = grants.filter(|grant| (grant.subnet, grant.server) == (advert.subnet(), advert.server));
        fitting.any(|grant| FlowAdvert::is_authentic(bytes, &grant.key())).then_some(advert)
    }

    /// Of the newest epoch; the longest prefix, and IPv4 tunnels first.
    fn newest(&self, is_wanted: impl Fn(&FlowKeyGrant) -> bool) -> Option<(u32, &FlowKeyGrant)> {
        let all = self.granted.values().flat_map(|keys| keys.keys.iter().map(move |grant| (keys.epoch, grant)));
        let rank = |(epoch, grant): &(u32, &FlowKeyGrant)| (*epoch, prefix_len(grant.subnet), is_v4(grant.server));
        all.filter(|(_, grant)| is_wanted(grant)).max_by_key(rank)
    }
}

fn prefix_len(net: IpNet) -> u8 {
    net.prefix_len()
}

fn is_v4(address: IpAddr) -> bool {
    address.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(epoch: u32, grants: &[(&str, &str, u8)]) -> FlowKeys {
        let grant = |(subnet, server, key): &(&str, &str, u8)| FlowKeyGrant {
            subnet: subnet.parse().unwrap(),
            server: server.parse().unwrap(),
            key: [*key; 16],
        };
        FlowKeys { epoch, keys: grants.iter().map(grant).collect() }
    }

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn flows() -> Vec<FlowKey> {
        ["tcp 198.51.100.7:40000 > 192.0.2.9:80", "udp 198.51.100.7:40000 > 192.0.2.9:53"]
            .map(|f| f.parse().unwrap())
            .into()
    }

    #[test]
    fn the_newest_key_of_the_subnet_signs() {
        let mut own = Keys::of(name("h1"));
        assert_eq!(own.advert(1, &flows()), None);
        own.grant(name("slr1"), keys(7, &[("192.0.2.0/24", "10.0.0.1", 1), ("192.0.2.0/24", "fd00::1", 2)]));
        own.grant(name("slr2"), keys(8, &[("198.18.0.0/15", "10.0.0.1", 3)]));
        let (advert, key) = own.advert(1, &flows()).unwrap();
        assert_eq!((advert.epoch, advert.server, advert.prefix_len), (7, "10.0.0.1".parse().unwrap(), 24));
        assert_eq!(key.bytes(), &[1; 16]);
        own.grant(name("slr2"), keys(8, &[("192.0.2.0/24", "10.0.0.1", 4)]));
        let (advert, key) = own.advert(1, &flows()).unwrap();
        assert_eq!((advert.epoch, key.bytes()), (8, &[4; 16]));
        assert_eq!(advert.flow_keys().collect::<Vec<_>>(), flows());
    }

    #[test]
    fn what_comes_back_is_known_as_our_own_in_the_epochs_that_we_have() {
        let mut own = Keys::of(name("h1"));
        own.grant(name("slr1"), keys(7, &[("192.0.2.0/24", "10.0.0.1", 1)]));
        let (advert, key) = own.advert(5, &flows()).unwrap();
        let bytes = advert.encode(&key).unwrap();
        own.grant(name("slr2"), keys(8, &[("192.0.2.0/24", "10.0.0.1", 4)]));
        assert_eq!(own.own(&bytes).map(|advert| advert.serial), Some(5));
        let mut changed = bytes;
        changed[20] ^= 1;
        assert_eq!(own.own(&changed), None);
        assert_eq!(Keys::of(name("h2")).own(&bytes), None);
    }
}
