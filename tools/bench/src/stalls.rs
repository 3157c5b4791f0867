//! `bench stalls`: what it costs to watch flows for stalls, against not watching them, in one run.
//!
//! A server's namespace with the host's programs and a client's, joined by a veth pair, and both ends of every connection in this
//! process, but for connections that never speak: their clients are processes of their own, and at the server they wait to be
//! accepted, so that no process needs more descriptors than it is allowed. Watching is switched on and off, slice by slice; while it is on, sweeps are made as hostd makes them. Connections
//! that speak once a second say what each of them costs, a few that send as fast as they can what throughput loses.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use slr_daemon::output;
use slr_daemon::table::Table;
use slr_dataplane::host::{Host, HostDesired, HostOptions, Sweeper, XdpMode};
use slr_model::VirtualSubnet;
use slr_testkit::netns::NetNs;
use socket2::{Domain, Socket, Type};

use crate::machine::{self, Machine, Noise, Watch};
use crate::results;
use crate::statistics::Summary;
use crate::usage::Cpu;

/// Options of `bench stalls`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Numbers of established connections, 8,000 of which speak
    #[arg(long, default_values_t = [10_000, 50_000])]
    pub flows: Vec<usize>,
    /// Slices with and without watching, of each kind
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub slices: u32,
    /// Also write stalls.json and stalls.md into this folder; without a name, into tools/bench/results/DATE-HOST
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = results::DEFAULT)]
    pub out: Option<PathBuf>,
}

/// Options of the processes that hold clients' ends.
#[derive(clap::Args, Clone, Debug)]
pub struct HoldArgs {
    /// How many connections
    count: usize,
}

/// Connections that speak: both ends are here, and a process may have 20,000 descriptors on many systems.
const SPEAKING: usize = 8_000;
/// Clients' ends that one process holds.
const HELD: usize = 16_000;
/// Where connections that never speak end, and are never accepted.
const SILENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 8081);
const SUBNET: &str = "192.0.2.0/24";
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 8080);
/// As shipped.
const FLOOR: Duration = Duration::from_millis(50);
const SWEEP_EVERY: Duration = Duration::from_millis(10);
/// hostd rests nine times as long as a sweep took.
const SWEEP_REST: u32 = 9;
const SLICE: Duration = Duration::from_secs(2);
/// Connections that send as fast as they can.
const BULK: usize = 4;
/// What a connection says once a second.
const WORD: [u8; 100] = [7; 100];
static CHUNK: [u8; 65_536] = [7; 65_536];
/// Flows fall out of the watch when they have been silent for two seconds; all have, at the latest, after so long.
const SILENT_WITHIN: Duration = Duration::from_secs(10);

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What else ran.
    pub noise: Noise,
    /// By number of connections.
    pub cases: Vec<Row>,
}

/// With so many established connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// How many.
    pub flows: usize,
    /// How many of them speak, when they do.
    pub speaking: usize,
    /// A sweep while none of them speaks, in microseconds.
    pub idle_sweep_us: Summary,
    /// Flows watched while none speaks.
    pub idle_watched: usize,
    /// A sweep while each speaks once a second, in microseconds.
    pub sweep_us: Summary,
    /// Share of a core that sweeps take then, in per cent: as often as hostd makes them.
    pub sweep_percent: f64,
    /// CPU of both ends for a word each second: with watching, of without.
    pub cpu_ratio: Summary,
    /// Bulk throughput beside the silent connections, in Gbit/s, without watching.
    pub bulk_gbps: Summary,
    /// With watching, of without, slice by slice.
    pub bulk_ratio: Summary,
}

struct Scene {
    host: Host,
    sweeper: Sweeper,
    desired: HostDesired,
    /// The client's end and the server's.
    flows: Vec<(TcpStream, TcpStream)>,
    bulk: Vec<(TcpStream, TcpStream)>,
    // Held, not used: connections that never speak.
    _silent: (TcpListener, Holders),
}

/// Processes with clients' ends; they end when this is dropped.
struct Holders(Vec<Child>);

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `bench stalls-clients`: connects, says so, and waits to be ended.
pub fn hold(args: &HoldArgs) -> Result<()> {
    let connect = |_| TcpStream::connect(SILENT).context("connect");
    let held = (0..args.count).map(connect).collect::<Result<Vec<_>>>()?;
    output::print(format!("{} connections", held.len()));
    loop {
        std::thread::park();
    }
}

/// Measure and report.
pub fn run(args: &Args) -> Result<()> {
    let machine = machine::describe()?;
    let watch = Watch::start();
    let cases = args.flows.iter().map(|flows| measure(*flows, args.slices)).collect::<Result<Vec<_>>>()?;
    let report = Report { machine, noise: watch.finish(), cases };
    if let Some(warning) = report.noise.warning() {
        eprintln!("{warning}");
    }
    if let Some(folder) = &args.out {
        results::write(&results::folder(folder)?, "stalls", &report, &report.markdown())?;
    }
    output::print(if args.json { serde_json::to_string(&report)? } else { report.table() });
    Ok(())
}

fn measure(flows: usize, slices: u32) -> Result<Row> {
    eprintln!("{flows} connections");
    let mut scene = Scene::with(flows)?;
    let slices = 0..slices;
    scene.watch(true)?;
    scene.speak(Duration::from_secs(1), true)?;
    scene.await_silence()?;
    let idle = (0..100).map(|_| scene.timed_sweep()).collect::<Result<Vec<_>>>()?;
    let idle_watched = scene.sweeper.sweep()?.watched;
    let (mut ratios, mut sweeps, mut swept, mut watched_for) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for _ in slices.clone() {
        let without = scene.arm(false)?;
        let with = scene.arm(true)?;
        ratios.push(with.cpu / without.cpu);
        swept += with.sweeps_us.iter().sum::<f64>();
        watched_for += with.seconds;
        sweeps.extend(with.sweeps_us);
    }
    scene.await_silence()?;
    let (mut gbps, mut bulk_ratio) = (Vec::new(), Vec::new());
    for _ in slices {
        let without = scene.bulk(false)?;
        let with = scene.bulk(true)?;
        gbps.push(without);
        bulk_ratio.push(with / without);
    }
    Ok(Row {
        flows,
        speaking: scene.flows.len(),
        idle_sweep_us: Summary::of(&idle),
        idle_watched,
        sweep_us: Summary::of(&sweeps),
        sweep_percent: swept / 1e4 / watched_for,
        cpu_ratio: Summary::of(&ratios),
        bulk_gbps: Summary::of(&gbps),
        bulk_ratio: Summary::of(&bulk_ratio),
    })
}

/// What a slice of words has cost.
struct Arm {
    /// Of a core, in per cent.
    cpu: f64,
    sweeps_us: Vec<f64>,
    seconds: f64,
}

impl Scene {
    fn with(flows: usize) -> Result<Self> {
        let (server, client) = (NetNs::new()?, NetNs::new()?);
        join(&server, &client)?;
        let subnet: VirtualSubnet = SUBNET.parse()?;
        let desired = HostDesired {
            tunnel_v4: Some(Ipv4Addr::new(10, 9, 0, 1)),
            subnets: vec![subnet],
            ..HostDesired::default()
        };
        let host = server.with(|| -> Result<Host> {
            let (mut host, _) = Host::load(&HostOptions::default())?;
            host.apply(&desired)?;
            host.attach("srv", XdpMode::Native)?;
            Ok(host)
        })?;
        let (listener, silent) = server.with(|| -> Result<_> {
            std::fs::write("/proc/sys/net/core/somaxconn", "65535")?;
            Ok((listen(SERVER)?, listen(SILENT)?))
        })?;
        let speaking = flows.min(SPEAKING);
        let holders = hold_clients(&client, flows - speaking)?;
        let mut all = Vec::new();
        for _ in 0..speaking + BULK {
            let near = client.with(|| TcpStream::connect(SERVER)).context("connect")?;
            let (far, _) = listener.accept().context("accept")?;
            for stream in [&near, &far] {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
            }
            all.push((near, far));
        }
        let bulk = all.split_off(speaking);
        let sweeper = host.sweeper()?;
        Ok(Self { host, sweeper, desired, flows: all, bulk, _silent: (silent, holders) })
    }

    /// On or off.
    fn watch(&mut self, on: bool) -> Result<()> {
        let floors = if on { [(self.desired.subnets[0], FLOOR)].into() } else { Default::default() };
        let desired = HostDesired { stall_floors: floors, ..self.desired.clone() };
        self.host.apply(&desired)?;
        // What was watched before is let go of.
        self.sweeper.sweep()?;
        Ok(())
    }

    /// Until no flow is watched any more.
    fn await_silence(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.sweeper.sweep()?.watched > 0 {
            ensure!(begun.elapsed() < SILENT_WITHIN, "flows are still watched after {SILENT_WITHIN:?}");
            std::thread::sleep(SWEEP_EVERY);
        }
        Ok(())
    }

    fn timed_sweep(&mut self) -> Result<f64> {
        let begun = Instant::now();
        let swept = self.sweeper.sweep()?;
        let took = begun.elapsed().as_secs_f64() * 1e6;
        ensure!(swept.stalled.is_empty(), "nothing stalls here: {:?}", swept.stalled.first());
        Ok(took)
    }

    /// Every server says a word within this time, evenly; sweeps meanwhile, if they are wanted, in microseconds.
    fn speak(&mut self, time: Duration, sweeps: bool) -> Result<Vec<f64>> {
        let (begun, mut due, mut took) = (Instant::now(), Instant::now(), Vec::new());
        let (count, mut buffer) = (self.flows.len(), [0; 256]);
        for index in 0..count {
            let (near, far) = &mut self.flows[index];
            far.write_all(&WORD).context("a word")?;
            let _ = near.read(&mut buffer);
            let until = begun + time.mul_f64(index as f64 / count as f64);
            while sweeps && Instant::now() >= due {
                let us = self.timed_sweep()?;
                took.push(us);
                due = Instant::now() + SWEEP_EVERY.max(Duration::from_secs_f64(us / 1e6) * SWEEP_REST);
            }
            if let Some(rest) =
                until.checked_duration_since(Instant::now()).filter(|rest| *rest > Duration::from_millis(1))
            {
                std::thread::sleep(rest);
            }
        }
        Ok(took)
    }

    fn arm(&mut self, on: bool) -> Result<Arm> {
        self.watch(on)?;
        let before = Cpu::of(std::process::id())?;
        let begun = Instant::now();
        let mut sweeps_us = Vec::new();
        while begun.elapsed() < SLICE {
            sweeps_us.extend(self.speak(Duration::from_secs(1), on)?);
        }
        let share = Cpu::of(std::process::id())?.since(&before);
        Ok(Arm { cpu: share.percent, sweeps_us, seconds: share.seconds })
    }

    /// Gbit/s over the connections that send as fast as they can.
    fn bulk(&mut self, on: bool) -> Result<f64> {
        self.watch(on)?;
        let (begun, mut due, mut bytes) = (Instant::now(), Instant::now(), 0u64);
        let mut buffer = vec![0; 1 << 20];
        while begun.elapsed() < SLICE {
            for (near, far) in &mut self.bulk {
                fill(far)?;
                bytes += drain(near, &mut buffer)?;
            }
            if on && Instant::now() >= due {
                let us = self.timed_sweep()?;
                due = Instant::now() + SWEEP_EVERY.max(Duration::from_secs_f64(us / 1e6) * SWEEP_REST);
            }
        }
        Ok(bytes as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9)
    }
}

fn fill(stream: &mut TcpStream) -> Result<()> {
    loop {
        match stream.write(&CHUNK) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("send"),
        }
    }
}

fn drain(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<u64> {
    let mut bytes = 0;
    loop {
        match stream.read(buffer) {
            Ok(len) => bytes += len as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
            Err(error) => return Err(error).context("receive"),
        }
    }
}

fn hold_clients(client: &NetNs, count: usize) -> Result<Holders> {
    let mut holders = Holders(Vec::new());
    for begin in (0..count).step_by(HELD) {
        let mut command = client.command(std::env::current_exe()?);
        command.args(["stalls-clients", &HELD.min(count - begin).to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().context("start a process of clients")?;
        let said = child.stdout.take().context("its stdout is piped")?;
        holders.0.push(child);
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line.contains("connections"), "a process of clients ended early");
    }
    Ok(holders)
}

fn listen(at: SocketAddrV4) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::V4(at).into()).context("bind")?;
    socket.listen(65_535)?;
    Ok(socket.into())
}

/// A pair of interfaces; the virtual subnet is local at the server's end, and routed to it at the client's.
fn join(server: &NetNs, client: &NetNs) -> Result<()> {
    let far = client.as_fd().as_raw_fd();
    server.ip_batch(&format!(
        "link add srv type veth peer name cli netns /proc/{}/fd/{far}\naddr add 10.9.0.1/16 dev srv\nlink set srv up\n\
         route add local {SUBNET} dev lo table local\n",
        std::process::id()
    ))?;
    client.with(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535"))?;
    client.ip_batch(&format!("addr add 10.9.0.2/16 dev cli\nlink set cli up\nroute add {SUBNET} via 10.9.0.1\n"))
}

impl Report {
    fn table(&self) -> String {
        let mut table = Table::new([
            "connections",
            "idle: watched",
            "sweep us",
            "speaking: sweep us",
            "p90",
            "% of a core",
            "CPU ratio",
            "p10",
            "p90",
            "bulk Gbit/s",
            "ratio",
            "p10",
            "p90",
        ]);
        for row in &self.cases {
            let number = |value: f64| format!("{value:.3}");
            let figures = [
                row.sweep_us.median,
                row.sweep_us.p90,
                row.sweep_percent,
                row.cpu_ratio.median,
                row.cpu_ratio.p10,
                row.cpu_ratio.p90,
                row.bulk_gbps.median,
                row.bulk_ratio.median,
                row.bulk_ratio.p10,
                row.bulk_ratio.p90,
            ];
            let first = [row.flows.to_string(), row.idle_watched.to_string(), number(row.idle_sweep_us.median)];
            table.row(first.into_iter().chain(figures.map(number)));
        }
        let Machine { cpu, kernel, .. } = &self.machine;
        format!(
            "{table}\nratios: with watching, of without, slice by slice; both ends and the kernel in one process; {cpu}, Linux {kernel}"
        )
    }

    fn markdown(&self) -> String {
        format!(
            "# What watching for stalls costs, {}, {}\n\n`bench stalls`: connections over a veth pair between two namespaces, the host's programs on \
             the server's end. *idle*: none speaks. *speaking*: each server sends 100 bytes a second. *bulk*: {BULK} connections send as fast as they \
             can beside the silent ones.\n\n```text\n{}\n```\n\n{}",
            self.machine.date,
            self.machine.host,
            self.table(),
            self.machine.markdown(&self.noise),
        )
    }
}
