//! Kernel and data plane as the configuration wants them, at the start, at a reload, and when somebody has changed things.
//!
//! The order of each change: what lets packets in comes last, what lets them in goes first. Interfaces and routes, then
//! tables, then programs; backwards when something goes.

use anyhow::{Context, Result, bail};
use slr_daemon::notify;

use super::Daemon;
use crate::config::Settings;
use crate::desired;
use crate::net::{self, sysctl};
use crate::peers::Peers;
use crate::status::Reloaded;

impl Daemon {
    /// Interfaces, routes, sysctls and tables for these settings.
    pub(super) async fn make(&mut self, settings: &Settings) -> Result<Reloaded> {
        let mtu = net::underlay_mtu(&self.links, &settings.interfaces).await?;
        let memory = sysctl::memory(&settings.admin_socket);
        for interface in &settings.interfaces {
            sysctl::prepare_underlay(interface, &memory)?;
        }
        if settings.subnets.iter().any(|subnet| !subnet.prefix.is_ipv4()) {
            sysctl::allow_virtual_v6(&memory)?;
        }
        net::add_missing(&self.links, &settings.groups()).await?;
        self.peers = Peers::of(settings, &self.state.learned);
        let desired = desired::tables(settings, &self.peers, mtu);
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
    pub(super) async fn clear(&mut self, settings: &Settings) -> Result<()> {
        for interface in self.host.pinned_interfaces() {
            if !settings.interfaces.contains(&interface) {
                self.host.detach(&interface).with_context(|| format!("cannot leave interface {interface}"))?;
                tracing::info!(interface, "left");
            }
        }
        net::remove_extra(&self.links, &settings.groups()).await?;
        Ok(())
    }

    pub(super) fn attach(&mut self, interface: &str) -> Result<()> {
        let mode = self.host.attach(interface, self.settings.xdp)?;
        tracing::info!(interface, mode = mode.as_str(), "attached");
        Ok(())
    }

    pub(super) fn attach_cgroup(&mut self, settings: &Settings) -> Result<()> {
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
    pub(super) async fn reload(&mut self) -> Result<Reloaded> {
        let result = self.try_reload().await;
        self.figures.reloaded(result.is_ok());
        result
    }

    async fn try_reload(&mut self) -> Result<Reloaded> {
        let new = Settings::load(&self.config)?;
        let state_dir = |settings: &Settings| settings.control.as_ref().map(|control| control.state_dir.clone());
        let fixed = [
            ("pin_path", self.settings.pin_path != new.pin_path),
            ("admin socket", self.settings.admin_socket != new.admin_socket),
            ("[control] state_dir", state_dir(&self.settings) != state_dir(&new)),
            ("[metrics] listen", self.settings.metrics != new.metrics),
            ("[api]", self.settings.api != new.api),
        ];
        if let Some((what, _)) = fixed.iter().find(|(_, changed)| *changed) {
            bail!("{what} cannot change while the daemon runs: stop it, then start it again");
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
            if self.host.attached().iter().any(|attachment| attachment.interface == *interface) {
                self.host.attach_egress(interface)?; // qdiscs are what people change most
            } else {
                self.attach(interface)?;
            }
        }
        // Fails, if it does, before anybody was told something else.
        self.parents.set(new)?;
        self.clear(new).await?;
        self.observe(new);
        Ok(changed)
    }

    /// Watches what these settings have, and says what they say.
    pub(super) fn observe(&mut self, settings: &Settings) {
        self.standing.configure(settings);
        self.echoes.set_rates(settings.echoes);
        self.watch.set(&settings.checks());
        self.sampling.set(&settings.sources);
        self.surveyor.set_subnets(settings.prefixes());
        self.surveyor.set_eager(self.standing.draining().is_some());
        if let Some(control) = &settings.control {
            self.state.learned.keep(&control.parents);
        }
        self.say();
    }

    pub(super) async fn reload_logged(&mut self) {
        notify::reloading();
        match self.reload().await {
            Ok(_) => tracing::info!("reloaded: {}", self.summary()),
            Err(error) => tracing::error!("configuration refused, the old one stays in force: {error:#}"),
        }
        notify::ready(&self.summary());
    }

    /// Interfaces come and go, people type `ip` commands: make true again what is not.
    pub(super) async fn recheck(&mut self) {
        let settings = self.settings.clone();
        match net::add_missing(&self.links, &settings.groups()).await {
            Ok(plan) if !plan.adds_nothing() => tracing::warn!(?plan, "interfaces or routes were gone: made again"),
            Ok(_) => {}
            Err(error) => tracing::warn!("interfaces and routes cannot be checked: {error:#}"),
        }
        let mut ready = Ok(());
        for interface in &settings.interfaces {
            let current = self.host.attached().iter().any(|a| a.interface == *interface && a.is_current());
            if !current {
                match self.attach(interface) {
                    Ok(()) => tracing::warn!(interface, "the interface had changed: attached again"),
                    Err(error) => {
                        tracing::warn!(interface, "not attached: {error:#}");
                        ready = Err(format!("not attached to {interface}: {error:#}"));
                    }
                }
            }
        }
        self.exporter.ready(ready);
        // The interfaces' MTU decides the MSS.
        match net::underlay_mtu(&self.links, &settings.interfaces).await {
            Ok(mtu) if desired::tables(&settings, &self.peers, mtu) != self.desired => {
                if let Err(error) = self.make(&settings).await {
                    tracing::warn!("the interfaces' MTU changed, but the tables did not: {error:#}");
                }
            }
            _ => {}
        }
    }
}
