//! What usually helps when packets are dropped for a reason.

use slr_dataplane::reason::HostReason;

/// The usual remedy; `None` for what is no drop.
pub fn remedy(reason: HostReason) -> Option<&'static str> {
    use HostReason as R;
    Some(match reason {
        R::Unset => "report it, with a capture",
        R::DropMalformedOuter | R::DropMalformedInner => {
            "a broken device on the way, or somebody who makes tunnel packets up; capture and look"
        }
        R::DropStranger => {
            "show peers has who may send: a router that is missing there is no parent of this host, or has another tunnel source; else it is forged"
        }
        R::DropTunnelFragment => {
            "a link between router and host takes less than the router knows; set [tunnel] path_mtu, or let ICMP through"
        }
        R::DropNotServed => {
            "a router sends a subnet that this host does not have: make [[subnet]] and the router's hosts agree"
        }
        R::DropChainDeep => "a router of another version, or a forged packet; compare the versions",
        R::DropRelayUnlisted => {
            "show peers has who may be next: a host of the site that is missing there is not connected; else it is forged"
        }
        R::DropKeepalive => {
            "something else than a router probes this host, or one of another version; compare the versions"
        }
        R::DropEcn => "a router between marks packets whose sender knows no ECN; nothing to do",
        R::DropRelayRewrite => "give this host a tunnel address of the other family as well ([tunnel] addresses)",
        R::DropSpoofedSource => "forged: nobody else sends from this host's virtual addresses; nothing to do",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use slr_dataplane::reason::Verdict;
    use slr_testkit::documentation::assert_has_table;

    use super::*;

    #[test]
    fn every_drop_has_a_remedy_and_the_documentation_has_them_all() {
        let row = |reason: &HostReason| {
            assert_eq!(remedy(*reason).is_some(), reason.verdict() == Verdict::Drop, "{}", reason.name());
            let (name, remedy) = (format!("`{}`", reason.name()), remedy(*reason).unwrap_or("—"));
            [name, reason.verdict().as_str().to_owned(), reason.meaning().to_owned(), remedy.to_owned()]
        };
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
        assert_has_table(file, ["reason", "verdict", "meaning", "what usually helps"], HostReason::ALL.iter().map(row));
    }
}
