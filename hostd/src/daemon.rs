//! `hostd run`: one loop that owns everything. It waits for signals, questions and the clock, and reconciles.
//!
//! The order of each change: what lets packets in comes last, what lets them in goes first. Interfaces and routes, then
//! tables, then programs; backwards when something goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use slr_daemon::admin::{self, Call};
use slr_daemon::signals::{Signal, Signals};
use slr_daemon::{log, notify};
use slr_dataplane::host::{Host, HostAdoption, HostDesired, HostOptions};

use crate::config::Settings;
use crate::desired;
use crate::net::{self, Links, sysctl};
use crate::status::{Counter, Interface, Peer, Reloaded, Request, Subnet, Topic};

/// How often interfaces and routes are looked at, in case somebody changed them.
const RECHECK: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT. The data plane stays.
pub fn run(config: &Path) -> Result<()> {
    log::init();
    let settings = Settings::load(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("take over signals")?;
        let mut calls = admin::serve(&settings.admin_socket)?;
        let mut daemon = Daemon::start(config.to_owned(), settings).await?;
        let mut clock = tokio::time::interval(RECHECK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        notify::ready(&daemon.summary());
        tracing::info!("{}", daemon.summary());
        loop {
            tokio::select! {
                biased; // an end first, then questions, then what can wait
                signal = signals.next() => match signal {
                    Signal::Stop => break,
                    Signal::Reload => daemon.reload_logged().await,
                },
                call = calls.next() => daemon.answer(call).await,
                _ = clock.tick() => daemon.recheck().await,
            }
        }
        notify::stopping();
        tracing::info!("ends; packets keep flowing until `hostd unload`");
        Ok(())
    })
}

struct Daemon {
    config: PathBuf,
    settings: Settings,
    links: Links,
    host: Host,
    desired: HostDesired,
}

impl Daemon {
    async fn start(config: PathBuf, settings: Settings) -> Result<Self> {
        let links = Links::open()?;
        let options = HostOptions { pin_dir: Some(settings.pin_path.clone()) };
        let (host, adoption) = Host::load(&options)?;
        match adoption {
            HostAdoption::Fresh => tracing::info!("starts anew"),
            HostAdoption::SameVersion => tracing::info!("takes over what is pinned"),
            HostAdoption::Upgraded { from } => tracing::info!(from, "takes over from another version"),
        }
        let desired = HostDesired::default();
        let mut daemon = Self { config, settings: settings.clone(), links, host, desired };
        daemon.make(&settings).await?;
        daemon.attach_cgroup(&settings)?;
        for interface in &settings.interfaces {
            daemon.attach(interface)?;
        }
        daemon.clear(&settings).await?;
        daemon.host.settle()?;
        Ok(daemon)
    }

    /// Interfaces, routes, sysctls and tables for these settings.
    async fn make(&mut self, settings: &Settings) -> Result<Reloaded> {
        let mtu = net::underlay_mtu(&self.links, &settings.interfaces).await?;
        let memory = sysctl::memory(&settings.admin_socket);
        for interface in &settings.interfaces {
            sysctl::prepare_underlay(interface, &memory)?;
        }
        if settings.subnets.iter().any(|subnet| !subnet.prefix.is_ipv4()) {
            sysctl::allow_virtual_v6(&memory)?;
        }
        net::add_missing(&self.links, &settings.groups()).await?;
        let desired = desired::tables(settings, mtu);
        let applied = self.host.apply(&desired)?;
        self.desired = desired;
        Ok(Reloaded {
            subnets_added: applied.subnets_added,
            subnets_removed: applied.subnets_removed,
            peers_changed: applied.peers_changed,
            peers_removed: applied.peers_removed,
        })
    }

    /// What these settings do not want any more.
    async fn clear(&mut self, settings: &Settings) -> Result<()> {
        for interface in self.host.pinned_interfaces() {
            if !settings.interfaces.contains(&interface) {
                self.host.detach(&interface).with_context(|| format!("cannot leave interface {interface}"))?;
                tracing::info!(interface, "left");
            }
        }
        net::remove_extra(&self.links, &settings.groups()).await?;
        Ok(())
    }

    fn attach(&mut self, interface: &str) -> Result<()> {
        let mode = self.host.attach(interface, self.settings.xdp)?;
        tracing::info!(interface, mode = mode.as_str(), "attached");
        Ok(())
    }

    fn attach_cgroup(&mut self, settings: &Settings) -> Result<()> {
        match settings.cgroup.clone().or_else(net::cgroup_root) {
            Some(path) => Ok(self.host.attach_cgroup(&path)?),
            None => {
                tracing::warn!(
                    "no cgroup v2 is mounted: UDP servers on wildcard addresses answer from the wrong address"
                );
                Ok(())
            }
        }
    }

    /// All or nothing: what fails half-way is undone by making the old settings true again.
    async fn reload(&mut self) -> Result<Reloaded> {
        let new = Settings::load(&self.config)?;
        let fixed = [
            ("pin_path", self.settings.pin_path != new.pin_path),
            ("admin socket", self.settings.admin_socket != new.admin_socket),
        ];
        if let Some((what, _)) = fixed.iter().find(|(_, changed)| *changed) {
            bail!("{what} cannot change while the daemon runs: `hostd unload`, then start again");
        }
        let old = std::mem::replace(&mut self.settings, new.clone());
        match self.install(&new, &old).await {
            Ok(changed) => Ok(changed),
            Err(error) => {
                self.settings = old.clone();
                if let Err(again) = self.install(&old, &new).await {
                    tracing::error!("going back to the old configuration failed as well: {again:#}");
                }
                Err(error)
            }
        }
    }

    async fn install(&mut self, new: &Settings, old: &Settings) -> Result<Reloaded> {
        let changed = self.make(new).await?;
        if new.cgroup != old.cgroup {
            self.attach_cgroup(new)?;
        }
        for interface in &new.interfaces {
            if !self.host.attached().iter().any(|attachment| attachment.interface == *interface) {
                self.attach(interface)?;
            }
        }
        self.clear(new).await?;
        Ok(changed)
    }

    async fn reload_logged(&mut self) {
        notify::reloading();
        match self.reload().await {
            Ok(_) => tracing::info!("reloaded: {}", self.summary()),
            Err(error) => tracing::error!("configuration refused, the old one stays in force: {error:#}"),
        }
        notify::ready(&self.summary());
    }

    /// Interfaces come and go, people type `ip` commands: make true again what is not.
    async fn recheck(&mut self) {
        let settings = self.settings.clone();
        match net::add_missing(&self.links, &settings.groups()).await {
            Ok(plan) if !plan.adds_nothing() => tracing::warn!(?plan, "interfaces or routes were gone: made again"),
            Ok(_) => {}
            Err(error) => tracing::warn!("interfaces and routes cannot be checked: {error:#}"),
        }
        for interface in &settings.interfaces {
            let current = self.host.attached().iter().any(|a| a.interface == *interface && a.is_current());
            if !current {
                match self.attach(interface) {
                    Ok(()) => tracing::warn!(interface, "the interface had changed: attached again"),
                    Err(error) => tracing::warn!(interface, "not attached: {error:#}"),
                }
            }
        }
        // The interfaces' MTU decides the MSS.
        match net::underlay_mtu(&self.links, &settings.interfaces).await {
            Ok(mtu) if desired::tables(&settings, mtu) != self.desired => {
                if let Err(error) = self.make(&settings).await {
                    tracing::warn!("the interfaces' MTU changed, but the tables did not: {error:#}");
                }
            }
            _ => {}
        }
    }

    async fn answer(&mut self, call: Call) {
        let result = match call.parse::<Request>() {
            Ok(Request::Show(topic)) => self.show(topic),
            Ok(Request::Reload) => self.reload().await.and_then(|changed| Ok(serde_json::to_value(changed)?)),
            Err(text) => return call.answer(Err::<(), _>(text)),
        };
        call.answer(result.map_err(|error| format!("{error:#}")));
    }

    fn show(&self, topic: Topic) -> Result<Value> {
        Ok(match topic {
            Topic::Subnets => serde_json::to_value(self.subnets()?)?,
            Topic::Interfaces => serde_json::to_value(self.interfaces())?,
            Topic::Counters => serde_json::to_value(self.counters()?)?,
            Topic::Peers => serde_json::to_value(self.peers()?)?,
        })
    }

    fn subnets(&self) -> Result<Vec<Subnet>> {
        let usage: BTreeMap<_, _> = self.host.usage()?.into_iter().map(|usage| (usage.subnet, usage)).collect();
        let served = self.settings.subnets.iter().filter_map(|subnet| Some((subnet, usage.get(&subnet.prefix)?)));
        Ok(served
            .map(|(subnet, usage)| Subnet {
                name: subnet.name.clone(),
                prefix: subnet.prefix,
                interface: subnet.interface.clone(),
                received_packets: usage.received.packets,
                received_bytes: usage.received.bytes,
                sent_packets: usage.sent.packets,
                sent_bytes: usage.sent.bytes,
            })
            .collect())
    }

    fn interfaces(&self) -> Vec<Interface> {
        let v4 = self.settings.tunnel_v4.map(Into::into);
        let tunnel_addresses: Vec<_> = v4.into_iter().chain(self.settings.tunnel_v6.map(Into::into)).collect();
        let attached = self.host.attached().iter().map(|attachment| Interface {
            name: attachment.interface.clone(),
            ifindex: attachment.ifindex,
            xdp: attachment.mode.as_str().to_owned(),
            attached: attachment.is_current(),
            tunnel_addresses: tunnel_addresses.clone(),
            mss_v4: self.desired.mss_v4.unwrap_or(0),
            mss_v6: self.desired.mss_v6.unwrap_or(0),
        });
        attached.collect()
    }

    fn counters(&self) -> Result<Vec<Counter>> {
        let counter = |(reason, counter): (slr_dataplane::reason::HostReason, slr_dataplane::host::Counter)| Counter {
            reason: reason.name().to_owned(),
            verdict: format!("{:?}", reason.verdict()).to_lowercase(),
            packets: counter.packets,
            bytes: counter.bytes,
            meaning: reason.meaning().to_owned(),
        };
        Ok(self.host.counters()?.into_iter().map(counter).collect())
    }

    fn peers(&self) -> Result<Vec<Peer>> {
        let names = |prefix: ipnet::IpNet| {
            let routers = self.settings.routers.iter().filter(|(_, nets)| nets.contains(&prefix)).map(|(name, _)| name);
            let hosts = self.settings.site_hosts.iter();
            let hosts =
                hosts.filter(|(_, all)| all.iter().any(|a| ipnet::IpNet::from(*a) == prefix)).map(|(name, _)| name);
            routers.chain(hosts).map(ToString::to_string).collect()
        };
        let peer = |peer: slr_dataplane::host::PeerStatus| Peer {
            prefix: peer.prefix,
            names: names(peer.prefix),
            router: peer.router,
            site_host: peer.site_host,
        };
        Ok(self.host.peers()?.into_iter().map(peer).collect())
    }

    fn summary(&self) -> String {
        let settings = &self.settings;
        format!(
            "host {}: {} virtual subnets, {} routers, {} other hosts, on {}",
            settings.name,
            settings.subnets.len(),
            settings.routers.len(),
            settings.site_hosts.len(),
            settings.interfaces.join(" "),
        )
    }
}
