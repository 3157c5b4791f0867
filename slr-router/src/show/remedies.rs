//! What usually helps when packets are dropped for a reason.

use slr_dataplane::reason::RouterReason;

/// The usual remedy; `None` for what is no drop.
pub fn remedy(reason: RouterReason) -> Option<&'static str> {
    use RouterReason as R;
    Some(match reason {
        R::Unset => "report it, with a capture that slr-router replay reproduces it from",
        R::DropMalformedIp | R::DropTruncatedL4 => {
            "noise from the internet in small numbers; many from one place: a broken device on the way, capture and look"
        }
        R::DropExtHeaders => "more headers than any honest sender writes; nothing to do",
        R::DropProtocol => "a scan, or a protocol that virtual hosts do not speak; nothing to do",
        R::DropNoActiveHost => {
            "show subnets: no host with weight serves this subnet; set one active in the hosts file and reload"
        }
        R::DropOrphan => {
            "flows that began before this router knew them; set orphan = \"chain\" to have their hosts found"
        }
        R::DropFragment => "first fragments take another way or come late; have senders use path MTU discovery",
        R::DropTooBig => "raise the MTU between here and the hosts by the tunnel header, or clamp the clients' MSS",
        R::DropIcmpLimit => "a flood of echo requests or oversized packets; raise icmp_per_s if they are honest",
        R::DropIcmpQuote => "errors about packets that no virtual host sent: often forged; nothing to do",
        R::DropIcmpType => "ICMP that no virtual host needs; nothing to do",
        R::DropEcho => "the subnet is configured with echo = \"drop\"; set \"answer\" to be reachable by ping",
        R::DropTunnelStranger => {
            "add the sender's prefix as an [[upstream]] if it is a router of yours; else it is forged"
        }
        R::DropTunnelFragment => "an upstream's tunnel crosses a smaller MTU; make it honour path MTU discovery",
        R::DropTunnelInner => "an upstream sends subnets that are not configured here; make both configurations agree",
        R::DropTunnelNested => {
            "an upstream tunnels into a tunnel: its hops lead to a virtual address; check its hosts file"
        }
        R::DropPmtuLearned => "nothing: the path MTU was taken over, show hops says which",
        R::DropPmtuKnown => "nothing: packets that were under way when the path MTU was learned; show hops says which",
        R::DropPmtuRefused => "frag-needed that matches no tunnel of ours: often forged; nothing to do",
        R::DropOrphanHeld => {
            "nothing: show recovery says whether other routers knew the flow; many that nobody knows: an ACK flood"
        }
        R::DropOrphanLimit => {
            "more unknown flows than other routers may be asked about: an ACK flood; the flows of honest clients send again"
        }
        R::DropAdvertTaken => {
            "nothing: show recovery says what became of the flows; many: hosts tell of flows that no router knew any more"
        }
        R::DropAdvertFragment | R::DropAdvertLength | R::DropAdvertForm | R::DropAdvertEnds => {
            "echo replies that no host's request has drawn: forged, nothing to do; many from one network: a device changes echoes"
        }
        R::DropAdvertEpoch => {
            "an old or forged one, nothing to do; many: compare [control] flow_secret and the epoch in show recovery with other routers'"
        }
        R::DropAdvertMac => "forged, nothing to do; many: compare [control] flow_secret with other routers'",
        R::DropAdvertReplayed => "nothing: a client or somebody on its way has sent the same again",
        R::DropAdvertLimit => {
            "nothing, if a router has just lost its tables: hosts tell again; otherwise a client's network floods"
        }
        R::DropHopUnusable => "show hosts says why the hosts of the ring cannot be reached",
        R::DropHeadroom => "the driver leaves no room in front of packets: attach with xdp = \"generic\"",
        R::DropEcn => "a router between the upstream and here marks packets whose sender knows no ECN; nothing to do",
        R::DropMartian => "no client has such an address: forged, nothing to do",
        R::DropPortZero => "no honest sender uses port 0; nothing to do",
        R::DropKeepalive => "the upstream runs another version, or something else uses port 6101; compare the versions",
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
        let row = |reason: &RouterReason| {
            assert_eq!(remedy(*reason).is_some(), reason.verdict() == Verdict::Drop, "{}", reason.name());
            let (name, remedy) = (format!("`{}`", reason.name()), remedy(*reason).unwrap_or("—"));
            [name, reason.verdict().as_str().to_owned(), reason.meaning().to_owned(), remedy.to_owned()]
        };
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
        assert_has_table(
            file,
            ["reason", "verdict", "meaning", "what usually helps"],
            RouterReason::ALL.iter().map(row),
        );
    }
}
