//! What a router pays for its children's adverts: CPU and memory of a process that has a [`Hub`] and nothing else.
//!
//! ```text
//! cargo run --release --package slr-control --example thousand_children -- 1000 400 20
//! ```
//!
//! The numbers are children, interval in milliseconds, seconds. The children run in a process of their own, all with
//! one certificate: a hub does not look at names, the registry does. The router's runtime has one thread, as slr-router.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use slr_ca::{Authority, IssueRequest, Moment};
use slr_control::{ChildLink, Endpoint, EndpointSettings, Hub, HubEvent, HubSettings, Target, Trust, TrustFiles};
use slr_model::{Advert, HostState, Loads, Role, ServiceAdvert, Weight};
use slr_session::conversation::{BackoffSettings, ChildSettings, ParentEvent, PeerSettings};
use slr_wire::Welcome;
use tokio::sync::{mpsc, watch};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let [mode, address, dir, children] = args.as_slice()
        && mode == "children"
    {
        return runtime.block_on(children_of(address.parse()?, Path::new(dir), children.parse()?));
    }
    let number = |index: usize, default: u64| args.get(index).map_or(Ok(default), |text| text.parse());
    runtime.block_on(router(number(0, 1_000)? as usize, number(1, 400)? as u32, number(2, 20)?))
}

/// Ends the children's process, however this one ends.
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn router(children: usize, interval_ms: u32, seconds: u64) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let router = certificates(dir.path())?;
    let endpoint = EndpointSettings {
        listen: vec!["127.0.0.1:0".parse()?],
        handshakes_burst: 100_000,
        handshakes_per_s: 100_000,
        ..EndpointSettings::default()
    };
    let peer = PeerSettings {
        incarnation: 1,
        first_session: 1,
        software: "example".to_owned(),
        role: Role::Site,
        tunnel_addresses: vec![],
        tunnel_sources: vec![],
        backoff: BackoffSettings::default(),
    };
    let (hub, mut events) = Hub::start(HubSettings { endpoint, peer, peers: vec![], seed: 1 }, Trust::load(router)?)?;
    let address = hub.endpoint().local_addresses()[0].to_string();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["children", &address]).arg(dir.path()).arg(children.to_string());
    let _children = Kill(command.spawn()?);

    let idle = Usage::now()?;
    let welcome = Welcome {
        session: 1,
        advert_interval_ms: interval_ms,
        silent_after_ms: interval_ms * 5 / 2,
        ack_interval_ms: interval_ms * 3,
        tunnel_sources: vec![],
    };
    let begin = Instant::now();
    let mut welcomed = 0;
    while welcomed < children {
        if let HubEvent::Child { id, event: ParentEvent::Hello(_), .. } = events.recv().await.ok_or("no hub")? {
            hub.welcome(id, welcome.clone())?;
            welcomed += 1;
        }
    }
    let used = Usage::now()?.cpu - idle.cpu;
    println!(
        "{children} handshakes in {:.2} s: {:.2} ms of CPU each",
        begin.elapsed().as_secs_f64(),
        used.as_secs_f64() * 1_000.0 / children as f64
    );

    let (mut adverts, mut ended) = (0u64, 0u64);
    let mut measured: Option<(Instant, Usage)> = None;
    // Two seconds for the first adverts and what the handshakes left behind.
    let (settled, end) = (Instant::now() + Duration::from_secs(2), Instant::now() + Duration::from_secs(2 + seconds));
    let mut batch = Vec::new();
    while Instant::now() < end {
        if events.recv_many(&mut batch, 256).await == 0 {
            return Err("no hub".into());
        }
        if measured.is_none() && Instant::now() >= settled {
            measured = Some((Instant::now(), Usage::now()?));
            adverts = 0;
        }
        for event in batch.drain(..) {
            match event {
                HubEvent::Child { event: ParentEvent::Advert(_), .. } => adverts += 1,
                HubEvent::Child { event: ParentEvent::Ended { .. }, .. } => ended += 1,
                _ => {}
            }
        }
    }
    let (since, before) = measured.ok_or("no adverts came")?;
    let (elapsed, after) = (since.elapsed().as_secs_f64(), Usage::now()?);
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    println!(
        "{:.0} adverts/s ({:.1} % of those due), {ended} connections lost",
        adverts as f64 / elapsed,
        adverts as f64 * 100.0 * f64::from(interval_ms) / (elapsed * 1_000.0 * children as f64)
    );
    println!("router: {:.1} % of a core, {:.1} us an advert", cpu * 100.0 / elapsed, cpu * 1e6 / adverts as f64);
    println!(
        "memory: {:.1} MB, {:.1} MB before the children, {:.1} kB a child",
        after.rss_mb,
        idle.rss_mb,
        (after.rss_mb - idle.rss_mb) * 1_000.0 / children as f64
    );
    Ok(())
}

async fn children_of(address: SocketAddr, dir: &Path, children: usize) -> Outcome<()> {
    let target = Target { role: Role::Site, name: "r1".parse()?, addresses: vec![address] };
    let endpoint = Endpoint::dialling(Trust::load(files(dir, "h1"))?)?;
    let (offer, offered) = watch::channel(None);
    let (sender, mut events) = mpsc::channel(1_024);
    let links: Vec<ChildLink> = (0..children as u64)
        .map(|index| {
            let settings = ChildSettings {
                incarnation: 1,
                first_session: 1,
                software: "example".to_owned(),
                role: Role::Host,
                tunnel_addresses: vec!["10.1.0.2".parse().expect("an address")],
                tunnel_sources: vec![],
                backoff: BackoffSettings::default(),
            };
            ChildLink::spawn(endpoint.clone(), target.clone(), settings, index, offered.clone(), sender.clone())
        })
        .collect();
    offer.send_replace(Some(advert()?));
    while events.recv().await.is_some() {}
    drop(links);
    Ok(())
}

/// A host with four services and three load values.
fn advert() -> Outcome<Advert> {
    let mut advert = Advert::default();
    for (name, value) in [("load", 0.5), ("cpu", 0.4), ("pressure", 0.01)] {
        advert.loads.set(name.parse()?, value)?;
    }
    for key in ["tcp/80@192.0.2.0/24", "tcp/443@192.0.2.0/24", "udp/53@192.0.2.0/24", "tcp/80@2001:db8:aa::/64"] {
        advert.services.push(ServiceAdvert {
            key: key.parse()?,
            state: HostState::Active,
            reason: String::new(),
            loads: Loads::new(),
            flows: 1_234,
            weight: Weight::default(),
        });
    }
    Ok(advert)
}

fn certificates(dir: &Path) -> Outcome<TrustFiles> {
    let day = Duration::from_secs(86_400);
    let mut ca = Authority::init(&dir.join("ca"), "example.net", day, day)?;
    for (role, name) in [(Role::Site, "r1"), (Role::Host, "h1")] {
        let request = IssueRequest {
            role,
            name: name.parse()?,
            tunnels: vec!["10.1.0.2/32".parse()?],
            subnets: vec!["192.0.2.0/24".parse()?, "2001:db8:aa::/64".parse()?],
            valid_for: day / 2,
            now: Moment::now(),
        };
        ca.issue(request, dir)?;
    }
    Ok(files(dir, "r1"))
}

fn files(dir: &Path, name: &str) -> TrustFiles {
    TrustFiles {
        ca: dir.join("ca.pem"),
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}-key.pem")),
        crl: Some(dir.join("crl.pem")),
        require_fresh_crl: false,
    }
}

/// What this process has used.
struct Usage {
    cpu: Duration,
    rss_mb: f64,
}

impl Usage {
    fn now() -> Outcome<Self> {
        use nix::sys::time::TimeValLike;
        let cpu = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { cpu: Duration::from_nanos(cpu.num_nanoseconds().unsigned_abs()), rss_mb: kilobytes / 1_000.0 })
    }
}
