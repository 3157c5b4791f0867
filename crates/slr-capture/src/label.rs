//! Reasons by number and name, and the comment of a packet.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use slr_dataplane::capture::{Captured, Kind};
use slr_dataplane::reason::{HostReason, RouterReason, Verdict};

/// What can become of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    /// As the program has it.
    pub number: u32,
    /// As counters have it.
    pub name: &'static str,
    /// For people.
    pub meaning: &'static str,
    /// What is done with the packet.
    pub verdict: Verdict,
}

/// All reasons of a program, by number.
pub fn reasons(kind: Kind) -> Vec<Reason> {
    macro_rules! all {
        ($reason:ty) => {{
            let one =
                |r: &$reason| Reason { number: *r as u32, name: r.name(), meaning: r.meaning(), verdict: r.verdict() };
            <$reason>::ALL.iter().map(one).collect()
        }};
    }
    match kind {
        Kind::Router => all!(RouterReason),
        Kind::Host => all!(HostReason),
    }
}

/// Numbers of the reasons that are asked for; none: all.
pub fn numbers(reasons: &[Reason], names: &[String], dropped: bool) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for name in names {
        match reasons.iter().find(|reason| reason.name == name) {
            Some(reason) => numbers.push(reason.number),
            None => bail!("no reason is named `{name}`; `show counters --all` has them{}", similar(reasons, name)),
        }
    }
    if dropped {
        numbers.extend(reasons.iter().filter(|r| r.verdict == Verdict::Drop).map(|reason| reason.number));
    }
    Ok(numbers)
}

/// Reasons that a mistyped name may have meant: those that share a word with it.
fn similar(reasons: &[Reason], name: &str) -> String {
    let words: Vec<&str> = name.split(['_', '-']).filter(|word| word.len() > 3 && *word != "drop").collect();
    let found = reasons.iter().filter(|reason| words.iter().any(|word| reason.name.contains(word)));
    let found: Vec<&str> = found.map(|reason| reason.name).collect();
    if found.is_empty() { String::new() } else { format!(" (perhaps {})", found.join(", ")) }
}

/// What became of a packet, in a line. Host names go by the index of their hop.
pub fn comment(reasons: &[Reason], captured: &Captured, hops: &BTreeMap<u16, String>) -> String {
    let Some(reason) = reasons.get(captured.reason as usize) else {
        return format!("reason {}: of a newer program", captured.reason);
    };
    match (reason.verdict, captured.hop, hops.get(&captured.hop)) {
        (Verdict::Forward, 1.., Some(host)) => format!("{}: to {host} (hop {})", reason.name, captured.hop),
        (Verdict::Forward, 1.., None) => format!("{}: to hop {}", reason.name, captured.hop),
        (_, 1.., Some(host)) => format!("{}: {} (hop {}: {host})", reason.name, reason.meaning, captured.hop),
        _ => format!("{}: {}", reason.name, reason.meaning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_dataplane::capture::{Action, Image};
    use std::time::Duration;

    fn captured(reason: u32, hop: u16) -> Captured {
        let before = Image { ifindex: 1, len: 60, bytes: Vec::new() };
        Captured { at: Duration::ZERO, reason, action: Action::Drop, hop, before, after: None }
    }

    #[test]
    fn a_comment_says_where_a_packet_went_or_why_not() {
        let (router, host) = (reasons(Kind::Router), reasons(Kind::Host));
        let hops = BTreeMap::from([(3, "h2".to_owned())]);
        let of = |reason, hop| comment(&router, &captured(reason, hop), &hops);
        assert_eq!(of(RouterReason::FwdEstablished as u32, 3), "fwd_established: to h2 (hop 3)");
        assert_eq!(of(RouterReason::FwdNew as u32, 4), "fwd_new: to hop 4");
        assert_eq!(of(RouterReason::DropPortZero as u32, 0), "drop_port_zero: TCP or UDP port 0, which no flow has");
        assert!(of(RouterReason::ReplyTooBig as u32, 3).ends_with("(hop 3: h2)"));
        assert_eq!(of(99, 0), "reason 99: of a newer program");
        assert_eq!(
            comment(&host, &captured(HostReason::RelayChain as u32, 0), &hops),
            "relay_chain: this host has no socket for it: sent to the chain's next host"
        );
    }

    #[test]
    fn names_are_numbers_and_wrong_ones_are_told() {
        let router = reasons(Kind::Router);
        assert!(numbers(&router, &[], false).unwrap().is_empty());
        let named = numbers(&router, &["drop_orphan".to_owned(), "fwd_new".to_owned()], false).unwrap();
        assert_eq!(named, [RouterReason::DropOrphan as u32, RouterReason::FwdNew as u32]);
        let dropped = numbers(&router, &[], true).unwrap();
        assert!(dropped.contains(&(RouterReason::DropMartian as u32)));
        assert!(!dropped.contains(&(RouterReason::FwdNew as u32)));
        let error = numbers(&router, &["drop_martians".to_owned(), "drop_martian".to_owned()], false).unwrap_err();
        assert!(error.to_string().contains("no reason is named `drop_martians`"), "{error}");
        let error = numbers(&router, &["drop_the_orphan".to_owned()], false).unwrap_err().to_string();
        assert!(error.contains("perhaps") && error.contains("drop_orphan_held"), "{error}");
    }
}
