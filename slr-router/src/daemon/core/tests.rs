use super::*;
use crate::links::{Links, Unresolved};
use slr_dataplane::router::{Applied, Desired, SweepPolicy, SweepReport, XdpMode};
use slr_model::{MacAddr, NodeName, ServiceKey};
use slr_session::registry::{ConnectionId, Hello, PathReport, SessionId};

/// Records what is done, and refuses what it is told to.
#[derive(Debug, Default)]
struct Recorder {
    done: Vec<String>,
    applied: Vec<Desired>,
    attached: BTreeMap<String, u32>,
    refuse_attach: Option<String>,
    refuse_apply: bool,
    packets: BTreeMap<NodeName, u64>,
    /// A sweep takes so many turns.
    sweep_parts: usize,
}

impl Plane for Recorder {
    fn apply(&mut self, desired: &Desired) -> Result<Applied> {
        if self.refuse_apply {
            bail!("the tables refuse");
        }
        self.done.push("apply".into());
        let changed = self.applied.last().map_or(Vec::new(), |last| {
            let differs = |host: &&slr_dataplane::router::Host| !last.hosts.contains(host);
            desired.hosts.iter().filter(differs).map(|host| host.name.clone()).collect()
        });
        self.applied.push(desired.clone());
        Ok(Applied { hosts_changed: changed, ..Applied::default() })
    }

    fn attach(&mut self, interface: &str, _: XdpMode) -> Result<XdpMode> {
        if self.refuse_attach.as_deref() == Some(interface) {
            bail!("{interface} refuses");
        }
        self.done.push(format!("attach {interface}"));
        self.attached.insert(interface.to_owned(), index(interface));
        Ok(XdpMode::Native)
    }

    fn detach(&mut self, interface: &str) -> Result<()> {
        self.done.push(format!("detach {interface}"));
        self.attached.remove(interface);
        Ok(())
    }

    fn attached(&self) -> BTreeMap<String, u32> {
        self.attached.clone()
    }

    fn unpin(&mut self, which: &[(NodeName, ServiceKey)]) -> Result<u64> {
        self.done.extend(which.iter().map(|(host, service)| format!("unpin {host} {service}")));
        Ok(0)
    }

    fn doubt(&mut self, tunnel: IpAddr, is_doubted: bool) -> Result<()> {
        self.done.push(format!("doubt {tunnel} {is_doubted}"));
        Ok(())
    }

    fn packets(&self) -> Result<BTreeMap<NodeName, u64>> {
        Ok(self.packets.clone())
    }

    fn age(&mut self, elapsed_s: u32) -> Result<()> {
        self.done.push(format!("age {elapsed_s}"));
        Ok(())
    }

    fn sweep(&mut self, policy: &SweepPolicy) -> Result<Option<SweepReport>> {
        self.done.push(format!("sweep tcp_idle_s={}", policy.tcp_idle_s));
        self.sweep_parts = self.sweep_parts.saturating_sub(1);
        Ok((self.sweep_parts == 0).then(SweepReport::default))
    }
}

fn hours(now: Instant) -> Hours {
    Hours { at: now, hour: 12.0 }
}

fn index(interface: &str) -> u32 {
    interface.bytes().map(u32::from).sum()
}

fn loaded(interfaces: &str) -> Loaded {
    let settings = format!(
        "[node]\nname = \"slr-1\"\n[tunnel]\nsources = [\"10.1.255.0/24\"]\n[dataplane]\ninterfaces = {interfaces}\n\
         [[subnet]]\nname = \"web\"\nprefix = \"192.0.2.0/24\"\n"
    );
    let settings = Settings::parse("c.toml", &settings).unwrap();
    let hosts = "[[host]]\nname = \"h1\"\naddress = \"10.1.11.2\"\nsubnets = [\"web\"]\n\
                 [[host]]\nname = \"h2\"\naddress = \"10.1.12.2\"\nsubnets = [\"web\"]\n\
                 [[host]]\nname = \"h3\"\naddress = \"10.1.13.2\"\nsubnets = [\"web\"]\nstate = \"down\"\n";
    let hosts = crate::hosts::parse("h.toml", hosts, &settings).unwrap();
    Loaded { settings, hosts }
}

fn link(last: u8) -> Link {
    Link { destination: MacAddr([2, 0, 0, 0, 0, last]), source: MacAddr([2; 6]), ifindex: 3, mtu: 1500 }
}

/// A report in which h1 and h2 have these links; h3 never has one.
fn report(generation: u64, h1: Option<u8>, h2: Option<u8>) -> Report {
    let of = |known: Option<u8>| known.map(link).ok_or(Unresolved::NoRoute);
    let name = |text: &str| text.parse().unwrap();
    let links: Links = [(name("h1"), of(h1)), (name("h2"), of(h2)), (name("h3"), of(None))].into();
    let interfaces = ["wan0", "lan0"].map(|name| (name.to_owned(), index(name))).into();
    Report { generation, links, interfaces }
}

/// A core with `wan0` in force since `now`.
fn running(now: Instant) -> Core<Recorder> {
    let mut core = Core::new(Recorder::default(), BTreeMap::new(), hours(now), now);
    core.propose(loaded("[\"wan0\"]"), 1, now);
    assert!(matches!(core.handle_report(report(1, Some(1), Some(2)), now), Some(Output::InForce(_))));
    core.plane_mut().done.clear();
    core
}

fn links_applied(core: &Core<Recorder>) -> Vec<Option<u8>> {
    core.plane().applied.last().unwrap().hosts.iter().map(|host| host.link.map(|link| link.destination.0[5])).collect()
}

#[test]
fn the_first_configuration_waits_for_its_hosts_then_fills_the_tables_before_it_attaches() {
    let now = Instant::now();
    let mut core = Core::new(Recorder::default(), BTreeMap::new(), hours(now), now);
    core.propose(loaded("[\"wan0\"]"), 1, now);
    assert!(core.handle_report(report(1, Some(1), None), now).is_none());
    assert!(core.plane().done.is_empty());
    let Some(Output::InForce(changes)) = core.handle_report(report(1, Some(1), Some(2)), now) else { panic!() };
    assert_eq!(core.plane().done, ["apply", "attach wan0"]);
    assert_eq!((changes.interfaces_attached, changes.unresolved), (vec!["wan0".to_owned()], vec![]));
    assert_eq!(links_applied(&core), [Some(1), Some(2), None]);
}

#[test]
fn a_host_that_never_answers_delays_a_little_and_no_more() {
    let now = Instant::now();
    let mut core = Core::new(Recorder::default(), BTreeMap::new(), hours(now), now);
    core.propose(loaded("[\"wan0\"]"), 1, now);
    assert!(core.handle_report(report(1, Some(1), None), now).is_none());
    assert_eq!(core.poll_timeout(), Some(now + FIRST_RESOLVE_WAIT));
    assert!(core.handle_timeout(now).is_none());
    let Some(Output::InForce(changes)) = core.handle_timeout(now + FIRST_RESOLVE_WAIT) else { panic!() };
    assert_eq!(changes.unresolved, ["h2"]);
    core.propose(loaded("[\"wan0\"]"), 2, now + FIRST_RESOLVE_WAIT);
    assert_eq!(core.poll_timeout(), Some(now + FIRST_RESOLVE_WAIT + RESOLVE_WAIT));
}

#[test]
fn a_report_about_other_hosts_decides_nothing() {
    let now = Instant::now();
    let mut core = running(now);
    core.propose(loaded("[\"wan0\"]"), 2, now);
    assert!(core.handle_report(report(1, Some(1), Some(2)), now).is_none());
    assert!(core.is_deciding() && core.plane().done.is_empty());
    assert!(core.handle_report(report(2, Some(1), Some(2)), now).is_some());
}

#[test]
fn templates_of_the_daemon_before_us_serve_until_the_hold_is_over() {
    let now = Instant::now();
    let held =
        [("10.1.11.2", 71), ("10.1.12.2", 72)].map(|(address, last)| (address.parse().unwrap(), link(last))).into();
    let mut core = Core::new(Recorder::default(), held, hours(now), now);
    core.propose(loaded("[\"wan0\"]"), 1, now);
    assert!(core.handle_report(report(1, Some(1), None), now).is_some(), "a held template is reason enough to begin");
    assert_eq!(links_applied(&core), [Some(1), Some(72), None]);
    while core.handle_timeout(now + HOLD).is_some() || core.poll_timeout() <= Some(now + HOLD) {}
    assert_eq!(links_applied(&core), [Some(1), None, None]);
}

#[test]
fn templates_follow_the_network() {
    let now = Instant::now();
    let mut core = running(now);
    assert!(core.handle_report(report(1, Some(9), Some(2)), now).is_none());
    assert_eq!(core.plane().done, ["apply"]);
    assert_eq!(links_applied(&core), [Some(9), Some(2), None]);
}

#[test]
fn templates_that_the_tables_refuse_are_tried_again() {
    let now = Instant::now();
    let mut core = running(now);
    core.plane_mut().refuse_apply = true;
    core.handle_report(report(1, Some(9), Some(2)), now);
    core.plane_mut().refuse_apply = false;
    assert_eq!(core.poll_timeout(), Some(now + APPLY_AGAIN));
    core.handle_timeout(now + APPLY_AGAIN);
    assert_eq!(links_applied(&core), [Some(9), Some(2), None]);
    assert_eq!(core.poll_timeout(), Some(now + SWEEP_EVERY));
}

#[test]
fn an_interface_that_came_back_gets_the_program_again() {
    let now = Instant::now();
    let mut core = running(now);
    let mut gone = report(1, Some(1), Some(2));
    gone.interfaces.remove("wan0");
    core.handle_report(gone, now);
    assert!(core.plane().done.is_empty(), "links are as they were");
    core.plane_mut().attached.insert("wan0".to_owned(), 7);
    core.handle_report(report(1, Some(1), Some(2)), now);
    assert_eq!(core.plane().done, ["attach wan0"]);
}

#[test]
fn an_interface_that_refuses_is_tried_again() {
    let now = Instant::now();
    let mut core = Core::new(
        Recorder { refuse_attach: Some("lan0".into()), ..Recorder::default() },
        BTreeMap::new(),
        hours(now),
        now,
    );
    core.propose(loaded("[\"wan0\", \"lan0\"]"), 1, now);
    let Some(Output::InForce(changes)) = core.handle_report(report(1, Some(1), Some(2)), now) else { panic!() };
    assert_eq!(changes.interfaces_attached, ["wan0"]);
    core.plane_mut().refuse_attach = None;
    let due = core.poll_timeout().unwrap();
    while core.plane().attached.len() < 2 && core.poll_timeout() <= Some(due + ATTACH_AGAIN) {
        core.handle_timeout(due + ATTACH_AGAIN);
    }
    assert!(core.plane().attached.contains_key("lan0"));
}

#[test]
fn a_daemon_that_no_interface_takes_ends() {
    let now = Instant::now();
    let mut core = Core::new(
        Recorder { refuse_attach: Some("wan0".into()), ..Recorder::default() },
        BTreeMap::new(),
        hours(now),
        now,
    );
    core.propose(loaded("[\"wan0\"]"), 1, now);
    let Some(Output::Refused(error)) = core.handle_report(report(1, Some(1), Some(2)), now) else { panic!() };
    assert!(format!("{error:#}").contains("wan0 refuses") && core.in_force().is_none(), "{error:#}");
}

#[test]
fn a_change_attaches_applies_and_detaches_in_this_order() {
    let now = Instant::now();
    let mut core = running(now);
    core.propose(loaded("[\"lan0\"]"), 2, now);
    let Some(Output::InForce(changes)) = core.handle_report(report(2, Some(1), Some(2)), now) else { panic!() };
    assert_eq!(core.plane().done, ["attach lan0", "apply", "detach wan0"]);
    assert_eq!((changes.interfaces_attached, changes.interfaces_detached), (vec!["lan0".into()], vec!["wan0".into()]));
}

#[test]
fn a_change_that_is_refused_leaves_everything_as_it_was() {
    let now = Instant::now();
    for tables_refuse in [false, true] {
        let mut core = running(now);
        core.plane_mut().refuse_apply = tables_refuse;
        core.plane_mut().refuse_attach = (!tables_refuse).then(|| "lan1".to_owned());
        let before = core.plane().attached.clone();
        core.propose(loaded("[\"wan0\", \"lan0\", \"lan1\"]"), 2, now);
        let Some(Output::Refused(_)) = core.handle_report(report(2, Some(1), Some(2)), now) else { panic!() };
        assert_eq!(core.plane().attached, before);
        assert_eq!(core.in_force(), Some(&loaded("[\"wan0\"]")));
        assert!(!core.plane().done.contains(&"apply".to_owned()), "{:?}", core.plane().done);
    }
}

#[test]
fn flows_are_aged_by_the_configuration_in_force() {
    let now = Instant::now();
    let mut core = running(now);
    core.plane_mut().sweep_parts = 3;
    core.handle_timeout(now + SWEEP_EVERY);
    assert_eq!(core.plane().done, ["age 5"]);
    // A large table is gone through in parts, so that other things have their turn between them.
    for part in 0..3 {
        assert_eq!(core.poll_timeout(), Some(now + SWEEP_EVERY + SWEEP_ON_EVERY * part));
        core.handle_timeout(core.poll_timeout().unwrap());
    }
    assert_eq!(core.plane().done[1..], ["sweep tcp_idle_s=14400"; 3]);
    assert_eq!(core.poll_timeout(), Some(now + SWEEP_EVERY * 2));
}

/// Host `h4` connects and is ready for flows.
fn joins(core: &mut Core<Recorder>, now: Instant) {
    let identity = slr_model::Identity {
        trust_domain: "example.net".to_owned(),
        role: slr_model::Role::Host,
        name: "h4".parse().unwrap(),
        tunnels: vec!["10.1.14.2/32".parse().unwrap()],
        subnets: vec!["192.0.2.0/24".parse().unwrap()],
    };
    let hello = Hello {
        session: SessionId { incarnation: 1, session: 1 },
        version: "1.0".to_owned(),
        tunnels: vec!["10.1.14.2".parse().unwrap()],
        source_prefixes: Vec::new(),
        answers_asks: true,
        remote: "10.1.14.2:50000".parse().unwrap(),
    };
    let service = slr_model::ServiceAdvert {
        key: "tcp/80@192.0.2.0/24".parse().unwrap(),
        state: slr_model::HostState::Active,
        reason: String::new(),
        loads: slr_model::Loads::new(),
        flows: 0,
        weight: slr_model::Weight::default(),
    };
    let advert = slr_model::Advert { loads: slr_model::Loads::new(), services: vec![service] };
    let connection = ConnectionId(1);
    core.tell(now, |registry| registry.welcome(identity, hello, connection, now)).unwrap();
    core.tell(now, |registry| registry.advert(connection, 1, true, advert, now)).unwrap();
    let alive = PathReport::Alive { rtt_us: 250, loss: 0.0 };
    core.tell(now, |registry| registry.path(&"h4".parse().unwrap(), alive, now));
}

/// The edge watches for a proposal alone while it is decided.
#[test]
fn a_host_that_comes_while_a_change_is_decided_is_watched_afterwards() {
    let now = Instant::now();
    let mut core = running(now);
    core.propose(loaded("[\"wan0\", \"lan0\"]"), 2, now);
    joins(&mut core, now);
    while core.poll_effect().is_some() {}
    // It is waited for as well, but nobody resolves it.
    assert!(core.handle_report(report(2, Some(1), Some(2)), now).is_none());
    while !matches!(core.handle_timeout(core.poll_timeout().unwrap()), Some(Output::InForce(_))) {
        while core.poll_effect().is_some() {}
    }
    assert!(std::iter::from_fn(|| core.poll_effect()).any(|effect| effect == Effect::Watch));
}

/// Sessions begin while the first configuration still waits for its hosts.
#[test]
fn a_neighbour_that_is_met_before_the_first_configuration_is_in_force_is_a_hop_from_then_on() {
    let now = Instant::now();
    let control = "[node]\nname = \"slr-1\"\n[control]\nlisten = [\"10.1.0.1:6100\"]\nca = \"ca\"\n\
                   certificate = \"crt\"\nkey = \"key\"\nstate_dir = \"/var/lib/x\"\n\
                   [[neighbour]]\nname = \"slr-2\"\naddresses = [\"10.1.2.2:6100\"]\n\
                   [tunnel]\nsources = [\"10.1.255.0/24\"]\n[dataplane]\ninterfaces = [\"wan0\"]\n";
    let loaded = Loaded { settings: Settings::parse("c.toml", control).unwrap(), hosts: Vec::new() };
    let slr2: NodeName = "slr-2".parse().unwrap();
    let mut core = Core::new(Recorder::default(), BTreeMap::new(), hours(now), now);
    core.propose(loaded.clone(), 1, now);
    assert_eq!((core.in_force(), core.configured()), (None, Some(&loaded)), "who is a neighbour is known already");
    let neighbour = Neighbour { tunnel_addresses: vec!["10.1.2.2".parse().unwrap()], sources: Vec::new() };
    core.set_neighbour(slr2.clone(), neighbour, now);
    while !matches!(core.handle_timeout(core.poll_timeout().unwrap()), Some(Output::InForce(_))) {}
    assert!(core.hops().iter().any(|hop| hop.name == slr2), "{:?}", core.hops());
    assert!(std::iter::from_fn(|| core.poll_effect()).any(|effect| effect == Effect::Watch), "and is resolved");
}

/// A daemon that is killed leaves its tables to the next one, which reads the hosts' names from the file: what it does not find there, it
/// takes out, and its flows with it.
#[test]
fn a_host_is_written_down_with_the_placement_that_gives_it_flows() {
    let now = Instant::now();
    let mut core = running(now);
    joins(&mut core, now);
    let effects = |core: &mut Core<Recorder>| std::iter::from_fn(|| core.poll_effect()).collect::<Vec<_>>();
    let mut seen = effects(&mut core);
    // Rings do not follow each change of a burst at once.
    while !core.plane().applied.last().unwrap().hosts.iter().any(|host| host.name.as_str() == "h4") {
        assert!(!seen.contains(&Effect::Save), "it has no flows yet: a burst of changes is written once");
        core.handle_timeout(core.poll_timeout().unwrap());
        seen = effects(&mut core);
    }
    assert!(seen.contains(&Effect::Save), "{seen:?}");
}
