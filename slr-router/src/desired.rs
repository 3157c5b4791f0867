//! From configuration to what the kernel's tables shall say. Pure.

use std::collections::BTreeMap;

use slr_dataplane::router::{self, Desired, Link};
use slr_model::{OrphanPolicy, Tier};
use slr_wire::RingKey;

use crate::config::{Settings, Subnet};
use crate::fleet::{Hop, Route};

/// The data plane's desired state. `link` says how a host is reached; `None` while it is not known.
pub fn desired(
    settings: &Settings,
    hops: &[Hop],
    routes: &BTreeMap<RingKey, Route>,
    link: impl Fn(&Hop) -> Option<Link>,
) -> Desired {
    let next_hop =
        |hop: &Hop| router::Host { name: hop.name.clone(), address: hop.address, state: hop.state, link: link(hop) };
    let known = |name: &slr_model::NodeName| hops.iter().any(|hop| hop.name == *name);
    let route = |(key, route): (&RingKey, &Route)| router::Route {
        class: key.class.clone(),
        service: key.service.service,
        key_mask: route.key_mask,
        members: route.members.iter().filter(|(name, _)| known(name)).cloned().collect(),
    };
    let subnet = |subnet: &Subnet| router::Subnet {
        prefix: subnet.prefix,
        account: subnet.account,
        listed_only: subnet.services.is_some(),
        orphan: orphan_policy(settings.tier, subnet.orphan),
        echo: subnet.echo,
        classes: subnet.classes.iter().map(class).collect(),
        routes: routes.iter().filter(|(key, _)| key.service.subnet == subnet.prefix).map(route).collect(),
    };
    Desired {
        config: router::Config {
            tell_pins: settings.control.as_ref().is_some_and(|control| !control.peers.is_empty()),
            hold_orphans: settings.control.as_ref().is_some_and(|control| control.flow_secret.is_some()),
            ..settings.dataplane.limits
        },
        tunnel_addresses: settings.tunnel_addresses.clone(),
        upstreams: settings.upstreams.iter().flat_map(|upstream| upstream.prefixes.iter().copied()).collect(),
        sources: settings.sources.clone(),
        hosts: hops.iter().map(next_hop).collect(),
        subnets: settings.subnets.iter().map(subnet).collect(),
        ..Desired::default()
    }
}

/// What becomes of orphans at this tier. A chain is for hosts: a router of the tier below takes off one header, refuses the
/// rest (`drop_tunnel_nested`), and searches its own hosts itself.
fn orphan_policy(tier: Tier, configured: OrphanPolicy) -> OrphanPolicy {
    match configured {
        policy if policy.is_chain() && tier != Tier::Site => OrphanPolicy::Ring,
        policy => policy,
    }
}

fn class(class: &crate::config::Class) -> router::Class {
    router::Class { name: class.name.clone(), clients: class.clients.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use slr_model::MacAddr;

    const CONFIG: &str = r#"
        [node]
        name = "slr-1"
        [tunnel]
        sources = ["10.1.255.0/24"]
        [[upstream]]
        name = "up-1"
        prefixes = ["10.9.0.0/24", "fd00:9::/64"]
        [[subnet]]
        name = "web"
        prefix = "192.0.2.0/24"
        account = 7
        services = ["tcp/80"]
        [[subnet]]
        name = "dns"
        prefix = "192.0.3.0/24"
    "#;
    const HOSTS: &str = r#"
        [[host]]
        name = "h1"
        address = "10.1.11.2"
        subnets = ["web", "192.0.3.0/24"]
        weight = 50
        [[host]]
        name = "h2"
        address = "10.1.12.2"
        subnets = ["web"]
        state = "draining"
    "#;

    #[test]
    fn chains_are_for_routers_whose_hops_are_hosts() {
        for tier in [Tier::Network, Tier::As] {
            assert_eq!(orphan_policy(tier, OrphanPolicy::Chain), OrphanPolicy::Ring);
            assert_eq!(orphan_policy(tier, OrphanPolicy::ChainUdp), OrphanPolicy::Ring);
            assert_eq!(orphan_policy(tier, OrphanPolicy::SearchUdp), OrphanPolicy::Ring);
            assert_eq!(orphan_policy(tier, OrphanPolicy::Drop), OrphanPolicy::Drop);
        }
        assert_eq!(orphan_policy(Tier::Site, OrphanPolicy::Chain), OrphanPolicy::Chain);
    }

    #[test]
    fn members_are_those_who_serve_and_only_the_active_weigh() {
        let settings = Settings::parse("c.toml", CONFIG).unwrap();
        let hosts = crate::hosts::parse("h.toml", HOSTS, &settings).unwrap();
        let link = Link { destination: MacAddr([2; 6]), source: MacAddr([4; 6]), ifindex: 3, mtu: 1500 };
        let mut fleet = crate::fleet::Fleet::default();
        fleet.evaluate(&settings, &hosts, None, None, std::time::Instant::now(), 0.0);
        let desired = desired(&settings, &fleet.hops(&settings, &hosts), fleet.routes(), |host| {
            (host.name.as_str() == "h1").then_some(link)
        });
        assert_eq!(desired.hosts.iter().map(|h| h.link).collect::<Vec<_>>(), [Some(link), None]);
        assert_eq!(desired.upstreams.len(), 2);
        let members = |index: usize| {
            desired.subnets[index].routes[0].members.iter().map(|(n, w)| (n.as_str(), w.get())).collect::<Vec<_>>()
        };
        assert_eq!(members(0), [("h1", 50), ("h2", 0)]);
        assert_eq!(members(1), [("h1", 50)]);
        assert_eq!(desired.subnets[0].account, 7);
        let services =
            |index: usize| desired.subnets[index].routes.iter().map(|route| route.service).collect::<Vec<_>>();
        assert_eq!((desired.subnets[0].listed_only, services(0)), (true, vec![None, Some("tcp/80".parse().unwrap())]));
        assert_eq!((desired.subnets[1].listed_only, services(1)), (false, vec![None]));
    }
}
