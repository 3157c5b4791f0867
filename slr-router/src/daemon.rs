//! `slr-router run`: one loop around [`core`], one thing per turn.
//!
//! Everything that decides runs on one thread: the loop owns the data plane, the netlink watcher and the admin socket's connections are
//! tasks beside it. Ending the loop ends nothing in the kernel: program, tables and links stay pinned and go on forwarding.

mod adverts;
mod announcing;
mod changes;
mod core;
mod figures;
mod flow_keys;
mod half_open;
mod mirroring;
mod orders;
mod plane;
mod request;
mod roster;
mod searching;
mod sessions;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result};
use slr_capture::Desk;
use slr_daemon::admin::{self, Call, Calls};
use slr_daemon::api::{Api, Tls};
use slr_daemon::signals::{Signal, Signals};
use slr_daemon::{log, notify};
use slr_dataplane::router::{Adoption, Link, Orphan, Router, RouterOptions};
use slr_wire::Code;

use self::adverts::Adverts;
use self::announcing::Announcing;
pub use self::changes::Changes;
pub use self::core::{Core, Loaded, Neighbour};
use self::core::{HOLD, Hours, Output};
use self::figures::Figures;
use self::flow_keys::Keyring;
pub use self::half_open::Ending;
pub use self::mirroring::Mirrors;
pub use self::orders::Order;
pub use self::plane::Plane;
pub use self::request::Request;
use self::roster::SiteRoster;
pub use self::searching::Searching;

use crate::config::Settings;
use crate::control::{Control, News};
use crate::keepalive;
use crate::links::{Report, Watcher};
use crate::recovery;
use crate::show;
use crate::state::State;
use crate::trace;
use crate::web;

/// Longest sleep of the loop when no timer is set; one always is, so this is only never.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Runs until SIGTERM.
pub fn run(config: &Path) -> Result<()> {
    log::init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    runtime.block_on(async { Daemon::start(config)?.run().await })
}

pub(crate) struct Daemon {
    config: PathBuf,
    core: Core<Router>,
    watcher: Watcher,
    control: Option<Control>,
    /// What hosts say by way of their clients.
    adverts: Adverts,
    /// Keys for what hosts say by way of their clients.
    keyring: Option<Keyring>,
    /// What children were told of each other.
    roster: SiteRoster,
    /// What was told of the ways to hosts.
    paths: Arc<keepalive::Report>,
    signals: Signals,
    calls: Calls,
    figures: Figures,
    /// Read by programs, browsers and other nodes, for as long as the daemon runs.
    _api: Api,
    announcing: Option<Announcing>,
    /// What became of claims.
    claims: recovery::Claims,
    /// What the cluster's other members are told of flows, and tell.
    mirrors: Mirrors,
    /// Flows that nobody here knows, and whom else there is to ask.
    searching: Searching,
    ending: Ending,
    /// Who captures packets.
    capturing: Desk,
    /// Whoever asked for the reload that is being decided.
    waiting: Option<Call>,
    /// Whether systemd was told that we are up.
    is_ready: bool,
}

/// What the loop turns to next.
enum Event {
    Signal(Signal),
    Call(Call),
    Report(Result<Report>),
    News(Result<News>),
    /// Orphans that no host of their slot has.
    Held(Vec<Orphan>),
    /// Clients' answers to augmented echoes.
    Adverts(Vec<Vec<u8>>),
    Announced,
    Timeout,
}

impl Daemon {
    fn start(config: &Path) -> Result<Self> {
        let signals = Signals::new().context("cannot take over signals")?;
        let loaded = load(config, None)?;
        // The socket before the data plane: if another daemon answers there, its tables are left alone.
        let calls = admin::serve(&loaded.settings.admin_socket)?;
        let (router, held) = load_data_plane(&loaded.settings)?;
        let watcher = Watcher::start()?;
        let now = Instant::now();
        let mut core = Core::new(router, held, hours_now(), now);
        let (control, keyring) = start_control(&mut core, &loaded.settings, now)?.unzip();
        let generation = watcher.watch(core.targets(&loaded));
        let figures = Figures::start(loaded.settings.metrics)?;
        let api = serve_api(&loaded.settings, control.as_ref(), &calls)?;
        let searching = Searching::start(core.plane())?;
        let adverts = Adverts::start(core.plane())?;
        let announcing = loaded.settings.announce.clone().map(Announcing::start).transpose()?;
        core.propose(loaded, generation, now);
        Ok(Self {
            config: config.to_owned(),
            core,
            watcher,
            control,
            adverts,
            keyring,
            roster: SiteRoster::default(),
            paths: Arc::default(),
            signals,
            calls,
            figures,
            _api: api,
            announcing,
            claims: recovery::Claims::default(),
            mirrors: Mirrors::new(now),
            searching,
            ending: Ending::default(),
            capturing: Desk::default(),
            waiting: None,
            is_ready: false,
        })
    }

    /// What it decides by, for showing.
    pub(crate) fn core(&self) -> &Core<Router> {
        &self.core
    }

    async fn run(mut self) -> Result<()> {
        loop {
            let event = self.next_event().await;
            let begun = Instant::now();
            if let Event::Signal(Signal::Stop) = event
                && !self.withdraw_first()
            {
                return self.stop().await;
            }
            self.turn(event)?;
            self.carry_out();
            self.mirror(begun);
            self.search(begun);
            self.end_half_open(begun);
            self.keep_keys(begun);
            self.capturing.expire(self.core.plane_mut(), begun);
            if self.announce() {
                return self.stop().await;
            }
            self.publish_figures();
            self.figures.turned(begun);
        }
    }

    fn turn(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Signal(Signal::Stop) => {}
            Event::Signal(Signal::Reload) => {
                if let Err(error) = self.reload() {
                    tracing::warn!("configuration refused, the old one stays in force:\n{error:#}");
                }
            }
            Event::Call(call) => self.answer(call),
            Event::Report(report) => {
                let output = self.core.handle_report(report?, Instant::now());
                self.conclude(output)?;
            }
            Event::News(news) => self.hear(news?),
            Event::Held(orphans) => self.hold(orphans),
            Event::Adverts(datagrams) => self.take_adverts(&datagrams),
            // Looked at after every turn.
            Event::Announced => {}
            Event::Timeout => {
                self.refresh_paths();
                self.tell_roster();
                let output = self.core.handle_timeout(Instant::now());
                self.conclude(output)?;
            }
        }
        Ok(())
    }

    /// Every branch is cancel-safe: what is not taken now is taken in a later turn.
    async fn next_event(&mut self) -> Event {
        let deadline = self.core.poll_timeout().unwrap_or_else(|| Instant::now() + IDLE_MAX).min(self.figures.due());
        let others = [
            self.roster.due(),
            self.announcing.as_ref().map(Announcing::due),
            self.mirrors.due(),
            self.searching.due(),
            self.ending.due(),
            self.capturing.due(),
            self.keyring.as_ref().map(Keyring::due),
        ];
        let deadline = others.into_iter().flatten().fold(deadline, Instant::min);
        tokio::select! {
            biased;
            // 1. The operator's signals: rare, and they outrank everything.
            signal = self.signals.next() => Event::Signal(signal),
            // 2. The network changed: packets go astray until the templates follow.
            report = self.watcher.next() => Event::Report(report),
            // 3. Deadlines, before what arrived after them.
            () = tokio::time::sleep_until(deadline.into()) => Event::Timeout,
            // 4. What hosts and other routers say.
            news = next_news(&mut self.control) => Event::News(news),
            // 5. Clients that wait for their flow to be found.
            orphans = self.searching.orphans() => Event::Held(orphans),
            datagrams = self.adverts.next() => Event::Adverts(datagrams),
            // 6. What the kernel's table of announcements says.
            () = announced(&mut self.announcing) => Event::Announced,
            // 7. Questions: somebody waits, but nothing breaks.
            call = self.calls.next() => Event::Call(call),
        }
    }

    fn answer(&mut self, call: Call) {
        match call.parse() {
            Err(text) => call.answer(Err::<(), _>(text)),
            Ok(Request::Show(what)) => {
                let answer = match what {
                    show::What::Announce => self.show_announced(),
                    show::What::Recovery => show::recovery::answer(
                        self.core.plane(),
                        &self.claims,
                        &self.mirrors.received(),
                        &self.searching,
                        self.adverts.counts(),
                        self.ending.counters(),
                        self.keyring.as_ref().map(Keyring::epoch),
                    ),
                    show::What::Mirror => {
                        serde_json::to_value(show::mirror::answer(&self.mirrors, Instant::now())).map_err(Error::new)
                    }
                    what => show::answer(&what, &self.core, Instant::now()),
                };
                call.answer(answer.map_err(|error| format!("{error:#}")));
            }
            Ok(Request::Order { host, action, by }) => self.order(call, &host, action, &by),
            Ok(Request::ReleaseHold { service }) => self.release_hold(call, &service),
            Ok(Request::Remove { host }) => self.remove(call, &host),
            Ok(Request::Announce { drain }) => self.drain_announcements(call, drain),
            Ok(Request::ForgetFlows(which)) => self.forget_flows(call, &which),
            Ok(Request::Overview) => call.answer(self.overview().map_err(|error| format!("{error:#}"))),
            Ok(Request::History) => call.answer(Ok(self.figures.history().series())),
            Ok(Request::Trace { flow }) => {
                call.answer(trace::answer(flow, &self.core).map_err(|error| format!("{error:#}")));
            }
            Ok(Request::Capture(order)) => {
                call.answer(self.capturing.answer(order, self.core.plane_mut(), Instant::now()));
            }
            Ok(Request::Diff { config }) => self.diff(call, &config),
            Ok(Request::Reload) if self.core.is_deciding() => {
                call.answer(Err::<(), _>(
                    "a configuration is being put in force already; ask again in a second".into(),
                ));
            }
            Ok(Request::Reload) => match self.reload() {
                Ok(()) => self.waiting = Some(call),
                Err(error) => {
                    tracing::warn!("configuration refused, the old one stays in force:\n{error:#}");
                    call.answer(Err::<(), _>(format!("refused, the old configuration stays in force:\n{error:#}")));
                }
            },
        }
    }

    /// Reads the configuration and proposes it. It is decided upon when its hosts are resolved.
    fn reload(&mut self) -> Result<()> {
        if self.core.is_deciding() {
            tracing::info!("a configuration is being put in force already; the newer one takes its place");
        }
        let loaded = load(&self.config, self.core.in_force().map(|loaded| &loaded.settings))
            .inspect_err(|_| self.figures.decided(false))?;
        notify::reloading();
        let generation = self.watcher.watch(self.core.targets(&loaded));
        self.core.propose(loaded, generation, Instant::now());
        Ok(())
    }

    /// Tells everyone concerned what became of a proposal. An error ends the daemon: its first configuration was refused.
    fn conclude(&mut self, output: Option<Output>) -> Result<()> {
        match output {
            None => return Ok(()),
            Some(Output::InForce(changes)) => {
                self.follow_configuration();
                self.figures.decided(true);
                tracing::info!(changes = %show::one_line(&changes), "configuration is in force");
                if !self.is_ready {
                    self.settle();
                }
                if let Some(call) = self.waiting.take() {
                    call.answer(Ok(*changes));
                }
            }
            Some(Output::Refused(error)) => {
                let Some(in_force) = self.core.in_force() else { return Err(error) };
                self.watcher.watch(self.core.targets(in_force));
                self.figures.decided(false);
                tracing::warn!("configuration refused, the old one stays in force: {error:#}");
                if let Some(call) = self.waiting.take() {
                    call.answer(Err::<(), _>(format!("refused, the old configuration stays in force: {error:#}")));
                }
            }
        }
        notify::ready(&self.status());
        self.is_ready = true;
        Ok(())
    }

    /// After the first configuration: what an older version left is taken over to the end.
    fn settle(&mut self) {
        match self.core.plane_mut().settle() {
            Ok(0) => {}
            Ok(flows) => tracing::info!(flows, "flows that changed during the upgrade were copied"),
            Err(error) => tracing::warn!(error = %Error::new(error), "pins of an older version stay"),
        }
    }

    fn status(&self) -> String {
        self.core.in_force().map_or_else(String::new, |loaded| {
            format!("serving {} subnets with {} hosts", loaded.settings.subnets.len(), loaded.hosts.len())
        })
    }

    /// The parts of the control plane that another configuration may change.
    fn follow_configuration(&mut self) {
        let Some(settings) = self.core.in_force().map(|loaded| loaded.settings.clone()) else { return };
        let (Some(control), Some(wanted)) = (&mut self.control, &settings.control) else { return };
        if let Err(error) = control.configure(&settings, wanted) {
            tracing::error!("the control plane does not follow the configuration: {error:#}");
        }
        let peers: BTreeSet<_> = wanted.peers.iter().map(|peer| peer.name.clone()).collect();
        self.mirror_among(&peers);
        self.core.set_peers(peers, Instant::now());
        self.search_as_configured(Instant::now());
        for connection in self.control.iter().flat_map(|control| control.hub().connections()) {
            self.welcome(connection.id);
        }
        self.follow_keys(wanted);
    }

    async fn stop(mut self) -> Result<()> {
        notify::stopping();
        self.capturing.end(self.core.plane_mut());
        self.save();
        if let Some(control) = &self.control {
            control.hub().close(Code::Restart, "the router's daemon ends; its data plane goes on").await;
        }
        tracing::info!("stopping; the data plane stays pinned and goes on forwarding (slr-router unload removes it)");
        Ok(())
    }
}

async fn next_news(control: &mut Option<Control>) -> Result<News> {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

async fn announced(announcing: &mut Option<Announcing>) {
    match announcing {
        Some(announcing) => announcing.changed().await,
        None => std::future::pending().await,
    }
}

/// Opens the control plane, and goes on from what an earlier daemon knew.
fn start_control(core: &mut Core<Router>, settings: &Settings, now: Instant) -> Result<Option<(Control, Keyring)>> {
    let Some(wanted) = &settings.control else { return Ok(None) };
    let control = Control::start(settings, wanted)?;
    let state = State::load(&wanted.state_dir).unwrap_or_else(|error| {
        tracing::error!("hosts count as new: {error:#}");
        None
    });
    let keyring = Keyring::new(wanted, state.as_ref().and_then(State::flow_epoch), now);
    let cluster = Daemon::cluster(settings, wanted, control.incarnation(), state.as_ref(), now);
    if let Some(state) = state {
        let known = wanted
            .parents
            .iter()
            .filter_map(|parent| Some((parent.name.clone(), state.parents().get(&parent.name)?.clone())));
        core.restore_parents(known.collect());
        core.restore_neighbours(state.neighbours().clone());
        let (hosts, skipped) = state.restore(core.fleet_mut(), settings, now);
        tracing::info!(hosts, "hosts of the daemon before us hold while their sessions come back");
        skipped.iter().for_each(|why| tracing::warn!("a host of the daemon before us is not adopted: {why}"));
    } else {
        core.fleet_mut().configure(settings, now);
    }
    core.join(cluster, now);
    Ok(Some((control, keyring)))
}

/// The API, over HTTPS with this router's certificates, if it has any.
fn serve_api(settings: &Settings, control: Option<&Control>, calls: &Calls) -> Result<Api> {
    let tls = control.map(|control| {
        let trust = control.shared_trust();
        Arc::new(move || trust.current().https_server()) as Tls
    });
    let about = ("slr-router", env!("CARGO_PKG_VERSION"));
    let api = Api::start(&settings.api, tls, about, web::ROUTES, web::ASSETS, calls.asker())?;
    api.places().iter().for_each(|place| tracing::info!(place, "the API is served"));
    Ok(api)
}

fn hours_now() -> Hours {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Hours { at: Instant::now(), hour: since_epoch.as_secs_f64() / 3_600.0 % 24.0 }
}

/// Reads configuration and hosts. `running`: the settings that a reload cannot change are compared with these.
fn load(config: &Path, running: Option<&Settings>) -> Result<Loaded> {
    let settings = match running {
        None => Settings::load(config)?,
        Some(running) => Settings::load_for_reload(config, running)?,
    };
    settings.require_interfaces()?;
    let hosts = settings.load_hosts(None)?;
    Ok(Loaded { settings, hosts })
}

/// Loads the program, and reads the templates that an earlier daemon left: they serve until we know better.
fn load_data_plane(settings: &Settings) -> Result<(Router, BTreeMap<IpAddr, Link>)> {
    let dataplane = &settings.dataplane;
    let options = RouterOptions {
        pin_dir: Some(dataplane.pin_path.clone()),
        flows_per_family: dataplane.flows_per_family,
        new_flows_per_family: dataplane.new_flows_per_family,
    };
    let (router, adoption) =
        Router::load(&options).context("cannot load the data plane; it needs root and a bpf file system")?;
    match adoption {
        Adoption::Fresh => tracing::info!(pins = %dataplane.pin_path.display(), "data plane is loaded afresh"),
        Adoption::SameVersion { flows } => tracing::info!(flows, "data plane is taken over"),
        Adoption::Upgraded { from, flows } => {
            tracing::info!(flows, from, "data plane is taken over from another version")
        }
    }
    let held: BTreeMap<IpAddr, Link> =
        router.hops()?.into_iter().filter(|hop| hop.up).map(|hop| (hop.address, hop.link)).collect();
    if !held.is_empty() {
        tracing::info!(
            templates = held.len(),
            "templates are held for up to {} s while hosts are resolved",
            HOLD.as_secs()
        );
    }
    Ok((router, held))
}
