//! `hostd run`: one loop that owns everything. It waits for signals, questions, what its tasks find and the clock, and
//! reconciles.
//!
//! [`install`] makes kernel and data plane as the configuration wants them, [`control`] says what this host serves and obeys,
//! [`answer`] tells people, [`figures`] tells Prometheus; [`ways`] has the way out tried.

mod answer;
mod control;
mod figures;
mod install;
mod ways;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use slr_capture::Desk;
use slr_control::LinkEvent;
use slr_daemon::admin::{Call, Calls};
use slr_daemon::api::{Api, Tls};
use slr_daemon::metrics::Exporter;
use slr_daemon::signals::{Signal, Signals};
use slr_daemon::{admin, log, notify};
use slr_dataplane::host::{Host, HostAdoption, HostDesired, HostOptions};
use slr_model::FlowKey;
use tokio::time::MissedTickBehavior;

use crate::claims::Claims;
use crate::config::Settings;
use crate::echo::EchoThread;
use crate::health::{Finding, Watch};
use crate::load::{Reading, Sampling};
use crate::net::Links;
use crate::parents::Parents;
use crate::peers::Peers;
use crate::sockets::{Count, Surveyor};
use crate::standing::Standing;
use crate::state::{State, Store};
use crate::web;

/// How often interfaces and routes are looked at, in case somebody changed them.
const RECHECK: Duration = Duration::from_secs(5);
/// How often load values are put together and a drain is looked at; what cannot wait does not. Half of the shipped advert
/// interval, so that what an advert says is fresh.
const BEAT: Duration = Duration::from_millis(200);

/// Runs until SIGTERM or SIGINT, and then drains. The data plane stays.
pub fn run(config: &Path) -> Result<()> {
    log::init();
    let settings = Settings::load(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("take over signals")?;
        let mut calls = admin::serve(&settings.admin_socket)?;
        let mut daemon = Daemon::start(config.to_owned(), settings).await?;
        let _api = daemon.serve_api(&calls)?;
        let mut recheck = tokio::time::interval(RECHECK);
        let mut beat = tokio::time::interval(BEAT);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = notify::Pulse::new();
        notify::ready(&daemon.summary());
        tracing::info!("{}", daemon.summary());
        while !daemon.has_ended {
            let turn = tokio::select! {
                biased; // an end first, then flows that somebody waits for, then questions and news, then what can wait
                signal = signals.next() => Turn::Signal(signal),
                flows = daemon.claims.next() => Turn::Claims(flows),
                call = calls.next() => Turn::Call(call),
                event = daemon.parents.next() => Turn::Event(event),
                finding = daemon.watch.next() => Turn::Finding(finding),
                count = daemon.surveyor.next() => Turn::Count(count),
                reading = daemon.sampling.next() => Turn::Reading(reading),
                _ = beat.tick() => Turn::Beat,
                _ = recheck.tick() => Turn::Recheck,
            };
            let begun = Instant::now();
            daemon.take(turn).await;
            daemon.exporter.turned();
            pulse.turned(Instant::now());
            daemon.figures.turned(begun.elapsed());
        }
        daemon.finish().await;
        Ok(())
    })
}

/// What a turn of the loop is about.
enum Turn {
    Signal(Signal),
    Claims(Arc<[FlowKey]>),
    Call(Call),
    Event(LinkEvent),
    Finding(Finding),
    Count(Count),
    Reading(Reading),
    Beat,
    Recheck,
}

struct Daemon {
    config: PathBuf,
    settings: Settings,
    // The kernel's side.
    links: Links,
    host: Host,
    desired: HostDesired,
    peers: Peers,
    claims: Claims,
    echoes: EchoThread,
    // What is watched, on tasks.
    watch: Watch,
    sampling: Sampling,
    surveyor: Surveyor,
    // What is known and said.
    standing: Standing,
    parents: Parents,
    state: State,
    store: Option<Store>,
    exporter: Exporter,
    figures: figures::Figures,
    /// Who captures packets.
    capturing: Desk,
    /// When it ends at the latest, once it was told to.
    stop_at: Option<Instant>,
    has_ended: bool,
}

impl Daemon {
    async fn start(config: PathBuf, settings: Settings) -> Result<Self> {
        let (store, mut state) = match &settings.control {
            Some(control) => Store::open(&control.state_dir).map(|(store, state)| (Some(store), state))?,
            None => (None, State::default()),
        };
        if let Some(control) = &settings.control {
            state.learned.keep(&control.parents);
        }
        let links = Links::open()?;
        let (host, adoption) = Host::load(&HostOptions { pin_dir: Some(settings.pin_path.clone()) })?;
        match adoption {
            HostAdoption::Fresh => tracing::info!("starts anew"),
            HostAdoption::SameVersion => tracing::info!("takes over what is pinned"),
            HostAdoption::Upgraded { from } => tracing::info!(from, "takes over from another version"),
        }
        let mut daemon = Self {
            claims: Claims::of(&host)?,
            echoes: EchoThread::start(&settings.name, &host, settings.echoes)?,
            config,
            links,
            host,
            desired: HostDesired::default(),
            peers: Peers::of(&settings, &state.learned),
            watch: Watch::new(),
            sampling: Sampling::new(),
            surveyor: Surveyor::start(settings.prefixes()),
            standing: Standing::new(&settings, state.drained.clone(), Instant::now()),
            parents: Parents::new(state.incarnation),
            state,
            store,
            exporter: Exporter::start(settings.metrics)?,
            figures: figures::Figures::started(),
            capturing: Desk::default(),
            stop_at: None,
            has_ended: false,
            settings,
        };
        let settings = daemon.settings.clone();
        daemon.make(&settings).await?;
        daemon.attach_cgroup(&settings)?;
        for interface in &settings.interfaces {
            daemon.attach(interface)?;
        }
        daemon.clear(&settings).await?;
        daemon.host.settle()?;
        daemon.parents.set(&settings)?;
        daemon.observe(&settings);
        daemon.exporter.ready(Ok(()));
        Ok(daemon)
    }

    /// The API, over HTTPS with this host's certificates, if it has any.
    fn serve_api(&self, calls: &Calls) -> Result<Api> {
        let tls = self.parents.trust().map(|trust| Arc::new(move || trust.current().https_server()) as Tls);
        let about = ("hostd", env!("CARGO_PKG_VERSION"));
        let api = Api::start(&self.settings.api, tls, about, web::ROUTES, &[], calls.asker())?;
        api.places().iter().for_each(|place| tracing::info!(place, "the API is served"));
        Ok(api)
    }

    async fn take(&mut self, turn: Turn) {
        match turn {
            Turn::Signal(Signal::Stop) => self.stop(),
            Turn::Signal(Signal::Reload) => self.reload_logged().await,
            Turn::Claims(flows) => self.parents.claim(&flows),
            Turn::Call(call) => self.answer(call).await,
            Turn::Event(event) => self.hear(event).await,
            Turn::Finding(finding) => self.find(finding),
            Turn::Count(count) => self.count(count),
            Turn::Reading(reading) => self.read(reading),
            Turn::Beat => {
                self.capturing.expire(&mut self.host, Instant::now());
                self.beat();
            }
            Turn::Recheck => self.recheck().await,
        }
    }

    fn summary(&self) -> String {
        let settings = &self.settings;
        format!(
            "host {}: {} virtual subnets, {} services, {} parents, {} routers, {} other hosts, on {}",
            settings.name,
            settings.subnets.len(),
            settings.services.len(),
            settings.control.as_ref().map_or(0, |control| control.parents.len()),
            self.peers.routers.len(),
            self.peers.site_hosts.len(),
            settings.interfaces.join(" "),
        )
    }
}
