//! Options of `probe run`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;
use ipnet::IpNet;

use super::kind::FlowKind;
use crate::{
    units::{parse_bytes, parse_duration},
    wire,
};

/// Open flows of stated kinds to a service address, and report what became of each.
///
/// Kinds of flow:
///   http         one connection per request
///   keepalive    many requests on one connection
///   download     a long transfer to the client
///   upload       a long transfer to the server
///   interactive  a small TCP message every interval, echoed
///   udp          a small UDP message every interval, echoed
///   idle         one TCP message, silence, one more when the run ends
#[derive(Args, Clone, Debug)]
#[command(
    verbatim_doc_comment,
    after_help = "\
What ends a run: http and keepalive end after --requests, download and upload after --transfers, all of them (and
interactive, udp and idle) at --duration if given. Without --duration, interactive, udp and idle flows last as long as
the others; alone, 100 messages each. SIGINT ends a run early, with its report.

Exit status: 0 nothing failed, 1 some flow failed, 2 the run could not be made.

Examples
  20,000 requests, one connection each, 200 at a time, beside 20 UDP flows:
    probe run --target 192.0.2.10 --flow http=200 --flow udp=20 --requests 20000
  Both families from 254 client addresses, for a minute, as JSON:
    probe run --target 192.0.2.10 --target 2001:db8:100::10 --flow keepalive=400 --flow interactive=400 \\
        --source-range 198.51.100.0/24 --source-range 2001:db8:c::/120 --duration 60s --json
  Against nginx that says `add_header X-Slr-Server \"$hostname/$pid\" always;`:
    probe run --target 192.0.2.10 --flow http=50 --flow download=4 --download-path /large.bin"
)]
pub struct RunArgs {
    /// Address to open flows to (repeatable; each kind's flows are dealt out to the targets in turn)
    #[arg(long = "target", value_name = "ADDRESS", required = true)]
    pub targets: Vec<IpAddr>,

    /// Kind and number of concurrent flows, for instance http=200 (repeatable)
    #[arg(long = "flow", value_name = "KIND=COUNT", required = true, value_parser = parse_flow)]
    pub flows: Vec<(FlowKind, u32)>,

    /// Requests of the http kind, and as many of the keepalive kind, over all targets
    /// [default: 1000, without limit when --duration is given]
    #[arg(long, value_name = "COUNT")]
    pub requests: Option<u64>,

    /// Transfers of the download kind, and as many of the upload kind
    /// [default: one per flow, without limit when --duration is given]
    #[arg(long, value_name = "COUNT")]
    pub transfers: Option<u64>,

    /// Messages of each interactive and udp flow [default: until the run ends]
    #[arg(long, value_name = "COUNT")]
    pub messages: Option<u64>,

    /// Time after which the run ends
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Time over which the flows' starts are spread
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,

    /// Limit for a connection to come about, for a request as a whole, and for a UDP answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Limit for a TCP flow that waits to go without any progress
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub stall_timeout: Duration,

    /// Bind clients to the addresses of this range in turn, which must be this machine's (repeatable)
    #[arg(long = "source-range", value_name = "RANGE")]
    pub source_ranges: Vec<IpNet>,

    /// Bind sources even where the kernel does not know the address as local (IP_FREEBIND): needed for IPv6 ranges
    /// that are local by a route only
    #[arg(long)]
    pub source_freebind: bool,

    /// Port of HTTP
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub http_port: u16,

    /// Port of the TCP echo
    #[arg(long, value_name = "PORT", default_value_t = 7007)]
    pub echo_port: u16,

    /// Port of the UDP echo
    #[arg(long, value_name = "PORT", default_value_t = 7007)]
    pub udp_port: u16,

    /// Path of http and keepalive requests
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = parse_path)]
    pub path: String,

    /// Path of downloads; {bytes} stands for --download-bytes (a paced one: '/bytes/{bytes}?rate=100000')
    #[arg(long, value_name = "PATH", default_value = "/bytes/{bytes}", value_parser = parse_path)]
    pub download_path: String,

    /// Length of a download from `probe serve`
    #[arg(long, value_name = "BYTES", default_value = "100M", value_parser = parse_bytes)]
    pub download_bytes: u64,

    /// Path of uploads
    #[arg(long, value_name = "PATH", default_value = "/upload", value_parser = parse_path)]
    pub upload_path: String,

    /// Length of an upload
    #[arg(long, value_name = "BYTES", default_value = "100M", value_parser = parse_bytes)]
    pub upload_bytes: u64,

    /// Pace of an upload in bytes a second, a piece each --interval [default: as fast as the connection takes it]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub upload_rate: Option<u64>,

    /// Time between two messages of an interactive or udp flow, or two pieces of a paced upload
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_interval)]
    pub interval: Duration,

    /// Length of a message
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = parse_message_bytes)]
    pub message_bytes: usize,

    /// Time between an answer and the next request of a keepalive flow
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub think: Duration,

    /// Forbid fragmentation of UDP messages; one that does not fit the path fails as too-big
    #[arg(long)]
    pub udp_df: bool,

    /// Share of a udp flow's messages that may stay unanswered without failing the flow
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = parse_percent)]
    pub udp_loss_ok: f64,

    /// HTTP response field that names the server
    #[arg(long, value_name = "NAME", default_value = crate::http::head::SERVER_FIELD)]
    pub identity_header: String,

    /// Take the first line of an HTTP body as the server's name where the field is missing
    #[arg(long)]
    pub identity_body: bool,

    /// Fail flows that a server answers whose name does not begin so (repeatable)
    #[arg(long = "expect-server", value_name = "PREFIX")]
    pub expected_servers: Vec<String>,

    /// Seed of the flows' phases
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    /// Write what each flow did, one JSON object per line, to this file
    #[arg(long, value_name = "FILE")]
    pub flows_out: Option<PathBuf>,
}

fn parse_flow(text: &str) -> Result<(FlowKind, u32), String> {
    let (kind, count) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KIND=COUNT"))?;
    let kind = FlowKind::ALL
        .into_iter()
        .find(|candidate| candidate.name() == kind)
        .ok_or_else(|| format!("`{kind}` is no kind of flow: {}", FlowKind::ALL.map(FlowKind::name).join(", ")))?;
    match count.parse() {
        Ok(count @ 1..) => Ok((kind, count)),
        _ => Err(format!("`{count}` is no number of flows")),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    // The runtime's timers do not tell shorter times apart.
    if interval < Duration::from_millis(1) { Err("an interval is 1ms at least".to_owned()) } else { Ok(interval) }
}

fn parse_path(text: &str) -> Result<String, String> {
    match text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("a path begins with `/` and has visible ASCII characters only".to_owned()),
    }
}

fn parse_message_bytes(text: &str) -> Result<usize, String> {
    let range = wire::MIN_MESSAGE_BYTES..=wire::MAX_MESSAGE_BYTES;
    text.parse()
        .ok()
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| format!("a message has {} to {} bytes", range.start(), range.end()))
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent: Option<f64> = text.trim_end_matches('%').parse().ok();
    percent.filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(|| format!("`{text}` is not 0 to 100"))
}
