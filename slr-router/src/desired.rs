//! From configuration to what the kernel's tables shall say. Pure.

use slr_dataplane::router::{self, Desired, Link};
use slr_model::Weight;

use crate::config::Settings;
use crate::hosts::Host;

/// The data plane's desired state. `link` says how a host is reached; `None` while it is not known.
pub fn desired(settings: &Settings, hosts: &[Host], link: impl Fn(&Host) -> Option<Link>) -> Desired {
    let next_hop = |host: &Host| router::Host {
        name: host.name.clone(),
        address: host.address,
        state: host.state,
        link: link(host),
    };
    Desired {
        config: settings.dataplane.limits,
        tunnel_addresses: settings.tunnel_addresses.clone(),
        upstreams: settings.upstreams.iter().flat_map(|upstream| upstream.prefixes.iter().copied()).collect(),
        sources: settings.sources.clone(),
        hosts: hosts.iter().map(next_hop).collect(),
        subnets: settings.subnets.iter().map(|subnet| served(subnet, hosts)).collect(),
    }
}

fn served(subnet: &crate::config::Subnet, hosts: &[Host]) -> router::Subnet {
    // A host that takes no new flows stays a member with weight zero: it keeps its place in the slots' memory.
    let weight = |host: &Host| if host.state.takes_new_flows() { host.weight } else { Weight::ZERO };
    router::Subnet {
        prefix: subnet.prefix,
        account: subnet.account,
        services: subnet.services.clone(),
        orphan: subnet.orphan,
        echo: subnet.echo,
        key_mask: subnet.key_mask,
        members: hosts
            .iter()
            .filter(|host| host.subnets.contains(&subnet.prefix))
            .map(|host| (host.name.clone(), weight(host)))
            .collect(),
    }
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
    fn members_are_those_who_serve_and_only_the_active_weigh() {
        let settings = Settings::parse("c.toml", CONFIG).unwrap();
        let hosts = crate::hosts::parse("h.toml", HOSTS, &settings).unwrap();
        let link = Link { destination: MacAddr([2; 6]), source: MacAddr([4; 6]), ifindex: 3, mtu: 1500 };
        let desired = desired(&settings, &hosts, |host| (host.name.as_str() == "h1").then_some(link));
        assert_eq!(desired.hosts.iter().map(|h| h.link).collect::<Vec<_>>(), [Some(link), None]);
        assert_eq!(desired.upstreams.len(), 2);
        let members = |index: usize| {
            desired.subnets[index].members.iter().map(|(n, w)| (n.as_str(), w.get())).collect::<Vec<_>>()
        };
        assert_eq!(members(0), [("h1", 50), ("h2", 0)]);
        assert_eq!(members(1), [("h1", 50)]);
        assert_eq!((desired.subnets[0].account, desired.subnets[1].services.clone()), (7, None));
    }
}
