//! Other nodes of the system whose addresses are in a virtual subnet of this one's. Judged only.

use ipnet::IpNet;

use super::{Finding, Severity, finding};

/// Nodes, by name, whose addresses or prefixes overlap a virtual subnet: what is sent to them is answered or tunnelled here instead.
pub fn inside<'a>(others: impl IntoIterator<Item = (&'a str, IpNet)>, subnets: &[IpNet]) -> Vec<Finding> {
    let overlaps = |net: &IpNet, subnet: &IpNet| subnet.contains(&net.network()) || net.contains(&subnet.network());
    let mut found = Vec::new();
    for (name, net) in others {
        let Some(subnet) = subnets.iter().find(|subnet| overlaps(&net, subnet)) else { continue };
        let is_one = net.prefix_len() == net.max_prefix_len();
        let at = if is_one { net.addr().to_string() } else { net.to_string() };
        let what = format!(
            "{name} is at {at}, in the virtual subnet {subnet}: what this machine sends there never arrives, and its packets are taken for forged"
        );
        let fix = format!(
            "give {name} addresses outside of {subnet}, or make the virtual subnet smaller, in the configuration of each node"
        );
        found.push(finding(Severity::Broken, what, fix));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_of_others_are_outside_of_virtual_subnets() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let subnets = nets(&["192.0.2.0/24", "2001:db8:100::/48"]);
        let found = |others: &[&str]| inside(nets(others).into_iter().map(|net| ("slr1", net)), &subnets);
        assert_eq!(found(&["10.1.1.2/32", "192.0.3.1/32", "2001:db8:200::/48"]), []);
        assert!(
            found(&["192.0.2.7/32"])[0].what.starts_with("slr1 is at 192.0.2.7, in the virtual subnet 192.0.2.0/24")
        );
        assert_eq!(found(&["192.0.0.0/16", "2001:db8:100::2/128"]).len(), 2, "either may be the larger");
    }
}
