//! What a run does, as decided from its options: groups of flows, their budgets, the bytes they send.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};

use super::{args::RunArgs, kind::FlowKind};

/// Most flows open at once: what the ports of a few source addresses and a hard descriptor limit of usual size hold.
const MAX_FLOWS: u32 = 100_000;
/// Requests of a kind when neither a number nor a duration was asked for.
const DEFAULT_REQUESTS: u64 = 1_000;
/// Messages of a flow when nothing else would end the run.
const DEFAULT_MESSAGES: u64 = 100;

/// Flows of one kind to one target: what the report has a row for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    pub kind: FlowKind,
    pub target: SocketAddr,
    /// Flows open at once.
    pub flows: u32,
    /// Requests or transfers in all, or messages per flow; `None` is without limit.
    pub budget: Option<u64>,
}

/// Divides what the options ask for into groups.
pub fn groups(args: &RunArgs) -> Result<Vec<GroupPlan>> {
    let total: u64 = args.flows.iter().map(|&(_, count)| u64::from(count)).sum();
    if total > u64::from(MAX_FLOWS) {
        bail!("{total} flows are more than {MAX_FLOWS} at once: run several probes, from several machines");
    }
    let unlimited = args.duration.is_some();
    let finite_kinds = args.flows.iter().any(|(kind, _)| kind.is_finite());
    let mut groups = Vec::new();
    for kind in FlowKind::ALL {
        let flows: u32 = args.flows.iter().filter(|(of, _)| *of == kind).map(|(_, count)| count).sum();
        if flows == 0 {
            continue;
        }
        let shared = match kind {
            FlowKind::Http | FlowKind::Keepalive => args.requests.or((!unlimited).then_some(DEFAULT_REQUESTS)),
            FlowKind::Download | FlowKind::Upload => args.transfers.or((!unlimited).then_some(u64::from(flows))),
            FlowKind::Interactive | FlowKind::Udp | FlowKind::Idle => None,
        };
        let per_flow = args.messages.or((!unlimited && !finite_kinds).then_some(DEFAULT_MESSAGES));
        for (at, &address) in args.targets.iter().enumerate() {
            let share = |whole: u64| deal(whole, args.targets.len(), at);
            let budget = if kind.is_finite() { shared.map(share) } else { per_flow };
            let flows = share(u64::from(flows)) as u32;
            let target = SocketAddr::new(address, port(args, kind));
            // A target that gets none of few flows could not use up its share of the requests either.
            if flows == 0 {
                bail!("{} has fewer flows than there are targets: give each target one at least", kind.name());
            }
            groups.push(GroupPlan { kind, target, flows, budget });
        }
    }
    Ok(groups)
}

/// The `at`-th of `parts` nearly equal parts of `whole`; the first ones take the remainder.
fn deal(whole: u64, parts: usize, at: usize) -> u64 {
    let parts = parts as u64;
    whole / parts + u64::from((at as u64) < whole % parts)
}

fn port(args: &RunArgs, kind: FlowKind) -> u16 {
    match kind {
        FlowKind::Interactive | FlowKind::Idle => args.echo_port,
        FlowKind::Udp => args.udp_port,
        _ => args.http_port,
    }
}

/// The bytes of a request's head. `length` is that of the body that follows, if one does.
pub fn request_head(method: &str, target: SocketAddr, path: &str, closes: bool, length: Option<u64>) -> Vec<u8> {
    let host = match target.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let port = if target.port() == 80 { String::new() } else { format!(":{}", target.port()) };
    let persistence = if closes { "Connection: close\r\n" } else { "" };
    let body = length.map_or(String::new(), |length| {
        let (field, name) = (crate::http::head::PATTERN_FIELD, crate::pattern::NAME);
        format!("Content-Length: {length}\r\nContent-Type: application/octet-stream\r\n{field}: {name}\r\n")
    });
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: probe\r\nAccept: */*\r\n{persistence}{body}\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: RunArgs,
    }

    fn planned(options: &str) -> Result<Vec<(String, u32, Option<u64>)>> {
        let args = Command::try_parse_from(std::iter::once("probe").chain(options.split(' ')))?.args;
        Ok(groups(&args)?.into_iter().map(|g| (format!("{} {}", g.kind.name(), g.target), g.flows, g.budget)).collect())
    }

    #[test]
    fn budgets() {
        let row = |name: &str, flows, budget| (name.to_owned(), flows, budget);
        let cases = [
            ("--target 192.0.2.1 --flow http=200 --requests 20000", vec![row("http 192.0.2.1:80", 200, Some(20_000))]),
            ("--target 192.0.2.1 --flow http=2", vec![row("http 192.0.2.1:80", 2, Some(1_000))]),
            ("--target 192.0.2.1 --flow http=2 --duration 1s", vec![row("http 192.0.2.1:80", 2, None)]),
            ("--target 192.0.2.1 --flow udp=3 --flow udp=4", vec![row("udp 192.0.2.1:7007", 7, Some(100))]),
            (
                "--target 192.0.2.1 --flow udp=3 --flow download=2",
                vec![row("download 192.0.2.1:80", 2, Some(2)), row("udp 192.0.2.1:7007", 3, None)],
            ),
            (
                "--target 192.0.2.1 --target 2001:db8::1 --flow http=3 --requests 7 --http-port 8080",
                vec![row("http 192.0.2.1:8080", 2, Some(4)), row("http [2001:db8::1]:8080", 1, Some(3))],
            ),
            (
                "--target 192.0.2.1 --flow interactive=1 --messages 5 --duration 1s",
                vec![row("interactive 192.0.2.1:7007", 1, Some(5))],
            ),
        ];
        for (options, expected) in cases {
            assert_eq!(planned(options).expect(options), expected, "{options}");
        }
    }

    #[test]
    fn refused_options() {
        for options in [
            "--target 192.0.2.1 --flow http=0",
            "--target 192.0.2.1 --flow ftp=1",
            "--target 192.0.2.1 --flow http",
            "--target 192.0.2.1 --flow http=100001",
            "--target 192.0.2.1 --target 192.0.2.2 --flow http=1",
            "--target 192.0.2.1 --flow udp=1 --message-bytes 12",
            "--target 192.0.2.1 --flow http=1 --path index.html",
            "--target 192.0.2.1 --flow udp=1 --udp-loss-ok 101",
            "--target 192.0.2.1 --flow http=1 --duration 10",
            "--flow http=1",
        ] {
            assert!(planned(options).is_err(), "{options}");
        }
    }

    #[test]
    fn request_heads_parse_back() {
        let v6 = "[2001:db8::1]:8080".parse().expect("an address");
        let head = request_head("PUT", v6, "/upload", true, Some(10));
        let parsed = crate::http::head::parse_request(&head).expect("well-formed");
        assert_eq!((parsed.method, parsed.target, parsed.closes, parsed.patterned), ("PUT", "/upload", true, true));
        assert!(String::from_utf8_lossy(&head).contains("Host: [2001:db8::1]:8080\r\n"));
        let v4 = "192.0.2.1:80".parse().expect("an address");
        assert!(String::from_utf8_lossy(&request_head("GET", v4, "/", false, None)).contains("Host: 192.0.2.1\r\n"));
    }
}
