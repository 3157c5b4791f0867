//! `bench throughput`: packets per second through a real veth pair in a network namespace of its own.
//!
//! A generator in the kernel makes frames and redirects them into end A; the program under test runs natively on end B and
//! sends each back with a tunnel header; a sink on end A counts. All of it on one CPU, so that the rate is the cost of the
//! whole path; the reflector, which sends back without a header, says how much of it is not the program's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::net::if_::if_nametoindex;
use serde::{Deserialize, Serialize};
use slr_daemon::output;
use slr_daemon::table::Table;
use slr_dataplane::bench::{Load, load_settings};
use slr_dataplane::capture::Filter;
use slr_dataplane::router::XdpMode;
use slr_dataplane::xdp;
use slr_testkit::netns::NetNs;

use crate::dataplane::packets::{Ports, Service};
use crate::dataplane::scene::{Scene, V4_IN_V4, V6_IN_V6};
use crate::machine::{self, Machine, Noise, Watch};
use crate::results;
use crate::statistics::Summary;

/// Options of `bench throughput`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print JSON, with every slice, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Seconds of traffic per program and address family
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Established flows that the traffic is spread over, a power of two
    #[arg(long, default_value_t = 1_024, value_parser = power_of_two)]
    pub flows: u16,
    /// Also write throughput.json and throughput.md into this folder; without a name, into tools/bench/results/DATE-HOST
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = results::DEFAULT)]
    pub out: Option<PathBuf>,
}

fn power_of_two(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(flows) if flows.is_power_of_two() && flows <= 16_384 => Ok(flows),
        _ => Err("expected a power of two up to 16384".to_owned()),
    }
}

/// Slices per second: short, so that programs alternate faster than the machine drifts.
const SLICES_PER_S: u32 = 2;
/// Frames between two looks at the clock: many, since each call ends with a wait of some 20 ms in the kernel.
const CHUNK: u32 = 262_144;
const END_A: &str = "load";
const END_B: &str = "slr";

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What else ran.
    pub noise: Noise,
    /// Seconds of traffic per program and family.
    pub seconds: u32,
    /// Established flows.
    pub flows: u16,
    /// Every program in every family.
    pub cases: Vec<Row>,
}

/// One program in one address family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `reflector`, `floor`, `router`, or `capturing`: the router while 1 % of all packets are captured.
    pub program: String,
    /// `v4` or `v6`, inside and outside.
    pub family: String,
    /// Millions of packets a second that came back to the sink.
    pub mpps: Summary,
    /// Nanoseconds per packet over the reflector's in the same round.
    pub over_reflector_ns: Summary,
    /// Rate divided by the floor's in the same round.
    pub rate_of_floor: Summary,
    /// Time per packet divided by the plain router's in the same round, of the row that captures.
    #[serde(default)]
    pub time_of_router: Option<Summary>,
    /// Share of frames that did not come back.
    pub lost: f64,
    /// Every slice, in millions of packets a second.
    pub slices_mpps: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Reflector,
    Floor,
    Router,
    Capturing,
}

const TURNS: [Program; 4] = [Program::Reflector, Program::Floor, Program::Router, Program::Capturing];

/// Measure and report.
pub fn run(args: &Args) -> Result<()> {
    let ns = NetNs::new()?;
    let report = ns.with(|| measure(&ns, args))?;
    if let Some(warning) = report.noise.warning() {
        eprintln!("{warning}");
    }
    if let Some(folder) = &args.out {
        results::write(&results::folder(folder)?, "throughput", &report, &report.markdown())?;
    }
    output::print(if args.json { serde_json::to_string(&report)? } else { report.table() });
    Ok(())
}

/// On a thread inside the namespace.
fn measure(ns: &NetNs, args: &Args) -> Result<Report> {
    let machine = machine::settle()?;
    // Without IPv6 addresses the ends are silent: no multicast of their own reaches the sink.
    ns.ip_batch(&format!(
        "link add {END_A} type veth peer name {END_B}\n\
         link set {END_A} addrgenmode none\n\
         link set {END_B} addrgenmode none\n\
         link set {END_A} up\n\
         link set {END_B} up\n"
    ))?;
    let mut scene = Scene::small()?;
    let ports = Ports { first: 32_768, count: args.flows };
    for service in [V4_IN_V4, V6_IN_V6] {
        scene.establish_ports(service, ports)?;
    }
    // No limit but the share: each hundredth packet is written, whatever the rate.
    let filter = Filter { share: "1%".parse().expect("a share"), per_s: u32::MAX, ..Filter::default() };
    scene.captures.router.set(&filter, Duration::from_secs(86_400))?;
    let load = Load::new()?;
    let _sink = xdp::attach(load.sink(), END_A, XdpMode::Native, None, &[])?;
    let watch = Watch::start();
    let mut cases = Vec::new();
    for (family, service) in [("v4", V4_IN_V4), ("v6", V6_IN_V6)] {
        let mut slices: [Vec<Slice>; 4] = Default::default();
        for _ in 0..args.seconds * SLICES_PER_S {
            for (program, slices) in TURNS.into_iter().zip(&mut slices) {
                slices.push(slice(&scene, &load, program, service, ports)?);
                while !scene.captures.router.take()?.is_empty() {} // in time, as a reader on another CPU does
            }
        }
        cases.extend(rows(family, &slices));
    }
    Ok(Report { machine, noise: watch.finish(), seconds: args.seconds, flows: args.flows, cases })
}

/// What one program did in one slice of time.
#[derive(Clone, Copy)]
struct Slice {
    sent: u64,
    returned: u64,
    seconds: f64,
}

impl Slice {
    fn mpps(self) -> f64 {
        self.returned as f64 / self.seconds / 1e6
    }

    fn ns(self) -> f64 {
        self.seconds * 1e9 / self.returned as f64
    }
}

fn slice(scene: &Scene, load: &Load, program: Program, service: Service, ports: Ports) -> Result<Slice> {
    let descriptor = match (program, service) {
        (Program::Reflector, _) => load.reflector(),
        (Program::Floor, Service::V4(_)) => scene.yardsticks.floor_v4(),
        (Program::Floor, Service::V6(_)) => scene.yardsticks.floor_v6(),
        (Program::Router, _) => scene.router.program(),
        (Program::Capturing, _) => scene.captures.router.program(),
    };
    let attachment = xdp::attach(descriptor, END_B, XdpMode::Native, None, &[])?;
    let packet = service.ack(0);
    load.configure(&load_settings {
        eth: packet[..14].try_into().expect("a frame is longer"),
        flows: ports.count,
        first_port: ports.first,
        ifindex: if_nametoindex(END_A).context("the pair was just made")?,
        ..load_settings::default()
    })?;
    load.send(&packet, CHUNK).context("warm-up")?;
    let before = load.sunk()?;
    let (start, mut sent) = (Instant::now(), 0);
    let slice = Duration::from_secs(1) / SLICES_PER_S;
    while start.elapsed() < slice {
        load.send(&packet, CHUNK).context("live frames")?;
        sent += u64::from(CHUNK);
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = load.sunk()?;
    attachment.detach()?;
    let (tunnelled, plain) = (after.0 - before.0, after.1 - before.1);
    let (returned, stray) = if program == Program::Reflector { (plain, tunnelled) } else { (tunnelled, plain) };
    ensure!(stray == 0, "{stray} frames came back {} a tunnel header", if plain == stray { "without" } else { "with" });
    if returned == 0 {
        bail!("no frame came back: is XDP native on veth here?");
    }
    Ok(Slice { sent, returned, seconds })
}

fn rows(family: &str, slices: &[Vec<Slice>; 4]) -> Vec<Row> {
    let [reflector, floor, router, _] = slices;
    let of = |slices: &[Slice], figure: &dyn Fn(usize, Slice) -> f64| {
        Summary::of(&slices.iter().enumerate().map(|(round, slice)| figure(round, *slice)).collect::<Vec<f64>>())
    };
    let names = ["reflector", "floor", "router", "capturing"];
    let rows = names.into_iter().zip(slices).map(|(program, slices)| {
        let sent: u64 = slices.iter().map(|slice| slice.sent).sum();
        let returned: u64 = slices.iter().map(|slice| slice.returned).sum();
        Row {
            program: program.to_owned(),
            family: family.to_owned(),
            mpps: of(slices, &|_, slice| slice.mpps()),
            over_reflector_ns: of(slices, &|round, slice| slice.ns() - reflector[round].ns()),
            rate_of_floor: of(slices, &|round, slice| slice.mpps() / floor[round].mpps()),
            time_of_router: (program == "capturing")
                .then(|| of(slices, &|round, slice| slice.ns() / router[round].ns())),
            lost: sent.saturating_sub(returned) as f64 / sent as f64,
            slices_mpps: slices.iter().map(|slice| slice.mpps()).collect(),
        }
    });
    rows.collect()
}

impl Report {
    fn table(&self) -> String {
        let mut table = Table::new([
            "program",
            "family",
            "Mpps",
            "p10",
            "p90",
            "of floor",
            "p10",
            "p90",
            "ns over reflector",
            "time of router",
            "lost",
        ]);
        for row in &self.cases {
            table.row([
                row.program.clone(),
                row.family.clone(),
                format!("{:.3}", row.mpps.median),
                format!("{:.3}", row.mpps.p10),
                format!("{:.3}", row.mpps.p90),
                format!("{:.3}", row.rate_of_floor.median),
                format!("{:.3}", row.rate_of_floor.p10),
                format!("{:.3}", row.rate_of_floor.p90),
                format!("{:.1}", row.over_reflector_ns.median),
                row.time_of_router.map_or("-".to_owned(), |time| format!("{:.3}", time.median)),
                format!("{:.4}%", row.lost * 100.0),
            ]);
        }
        let Machine { cpu, kernel, .. } = &self.machine;
        format!(
            "{table}\n{} s per program and family in alternating slices, {} flows, one CPU for all; {cpu}, Linux {kernel}",
            self.seconds, self.flows
        )
    }

    fn markdown(&self) -> String {
        format!(
            "# Packets per second through a veth pair, {}, {}\n\n`bench throughput --seconds {} --flows {}`: live frames into one \
             end, the program natively on the other, a counting sink where they come back; generator, program and sink share one \
             CPU. The reflector sends back without a header: the zero. *Capturing* is \
             the router's program that captures, 1 % of all packets, each of them written. Median, 10th and 90th percentile over the slices.\n\n\
             ```text\n{}\n```\n\n{}",
            self.machine.date,
            self.machine.host,
            self.seconds,
            self.flows,
            self.table(),
            self.machine.markdown(&self.noise),
        )
    }
}
