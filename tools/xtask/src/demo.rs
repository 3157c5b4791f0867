//! The demo: a site from nothing to real HTTP, and what happens to it when things change or fail.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::Signal;
use xtask::servers;
use xtask::site::{CLIENT_RANGES, HOSTS, Site, SiteOptions, VIRTUAL};
use xtask::traffic::{self, Report};
use xtask::watch::Watch;

mod scene;
mod tables;

use crate::drill_task;
use scene::Scenes;

/// What to show.
#[derive(Args)]
pub struct Options {
    /// Requests of each address family in the first scene
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    requests: u32,
}

/// How long the router's daemon stays away after it was killed.
const AWAY: Duration = Duration::from_secs(2);

/// Run all scenes; true if everything went as it should.
pub fn run(options: &Options) -> Result<bool> {
    stop_on_signals()?;
    let mut scenes = Scenes::new();
    let weights = [100, 100, 50];
    let mut site = scenes
        .step("bringing up a site: 2 clients, 2 routers, 1 SLR, 3 hosts with nginx and UDP echoes", || {
            Site::up("demo", SiteOptions::default().weights(weights))
        })?;
    Watch::way_back(site.lab())?;
    println!("{}", tables::hosts(&site)?);

    let (v4, v6) = (options.requests, options.requests);
    let report = scenes.step(
        &format!("{} HTTP requests, one connection each, half IPv4, half IPv6; UDP echoes beside", v4 + v6),
        || real_traffic(&site, v4 + v6),
    )?;
    println!("{}", tables::kinds(&report));
    scenes.check(
        "no flow failed, none changed server",
        report.total("failed") == 0 && report.total("changed_server") == 0,
    );
    println!("{}", tables::shares(&site, &report)?);
    let returned = Watch::at(site.lab(), "slr1").packets("replies")?;
    println!("{}", tables::ways(&site, returned)?);
    scenes.check("replies went straight to the clients: the SLR saw none", returned == 0);

    let report = scenes
        .step("a link of 1,320 bytes between the site and every host: 10 MB up, 10 MB down", || narrow_link(&site))?;
    println!("{}", tables::kinds(&report));
    scenes.check("every transfer completed", report.total("failed") == 0);

    let report = scenes.step(
        &format!("slr-router killed with SIGKILL under load, {} s away, started again", AWAY.as_secs()),
        || killed_router(&mut site),
    )?;
    println!("{}", tables::kinds(&report));
    scenes.check("no flow noticed", report.total("failed") == 0 && report.total("changed_server") == 0);

    let report = scenes
        .step("h2's weight lowered to 10 under load, by its own configuration and `hostd reload`", || {
            new_weight(&mut site)
        })?;
    println!("{}", tables::hosts(&site)?);
    scenes.check(
        "established flows stayed where they were",
        report.total("failed") == 0 && report.total("changed_server") == 0,
    );

    let (report, said) =
        scenes.step("h1 drained under load: `slr-router drain h1 --wait`, then undrained", || drain(&site))?;
    println!("{said}{}", tables::kinds(&report));
    scenes.check("no request failed", report.total("failed") == 0);

    let (seconds, states, report) =
        scenes.step("nginx on h3 frozen (SIGSTOP) under load; the UDP echo beside it is well", || frozen(&site))?;
    println!("{states}\n{}", tables::kinds(&report));
    scenes.check(
        &format!("h3 was down for tcp/80 after {seconds:.2} s, and for nothing else"),
        seconds <= 1.5 && report.total("failed") == 0 && report.total("changed_server") == 0,
    );

    let (seconds, log) = scenes.step("h2's certificate revoked: `slr-ca revoke h2`", || revoked(&site))?;
    println!("{log}");
    scenes.check(&format!("h2 was gone after {seconds:.2} s"), seconds <= 2.0);

    println!("{}", tables::reasons(&site)?);
    let mut drops = site.drops("slr1")?;
    // Errors about its tunnels, from the narrow links: they are the SLR's own, and it has read them.
    drops.retain(|(reason, _)| !["drop_pmtu_learned", "drop_pmtu_known"].contains(&reason.as_str()));
    scenes.check("the SLR dropped nothing of the clients'", drops.is_empty());
    let site =
        scenes.step("a fresh site for failure drills: flows of all kinds, then something is made to fail", || {
            drop(site);
            xtask::drills::site("demo")
        })?;
    drills(&mut scenes, &site)?;
    scenes.step("cleaning up", || {
        drop(site);
        Ok(())
    })?;
    Ok(scenes.finish())
}

/// Small drills that one site can make, and the page of them.
fn drills(scenes: &mut Scenes, site: &Site) -> Result<()> {
    let out = Path::new("target/demo");
    if out.exists() {
        // What an earlier demo has left is not of this one's page.
        std::fs::remove_dir_all(out).with_context(|| format!("remove {}", out.display()))?;
    }
    let words = "--flows 120 --rtt 10ms --ramp 500ms --before 1s --after 3s --healed 1s --skip-null";
    for name in ["host-drain", "server-crash"] {
        let report = scenes
            .step(&format!("probe drill {name}"), || xtask::drills::drill(site.lab(), "c1", name, words, Some(out)))?;
        let total = &report["measured"]["total"];
        let number = |name: &str| total[name].as_u64().unwrap_or_default();
        let (flows, survived) = (number("flows"), number("survived"));
        println!("  {survived} of {flows} flows survived, {} were reset", number("reset"));
        if name == "host-drain" {
            scenes.check("every flow survived", flows > 0 && survived == flows);
        } else {
            scenes.check("the flows of the other hosts survived", survived > flows / 3);
        }
    }
    println!("  {}", drill_task::page(out, &drill_task::results(out)?)?);
    Ok(())
}

/// The lab goes with its owner: its link emulator sees this process end, however it ends, and takes everything down.
fn stop_on_signals() -> Result<()> {
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("block signals")?;
    thread::spawn(move || {
        let signal = signals.wait();
        eprintln!("\n{}: taking the lab down", signal.map_or("signal", Signal::as_str));
        let run = slr_testkit::lab::list_runs().unwrap_or_default();
        let mine = format!("demo-{}-", std::process::id());
        for run in run.iter().filter(|run| run.starts_with(&mine)) {
            if let Err(error) = slr_testkit::lab::down(run) {
                eprintln!("{error:#}");
            }
        }
        std::process::exit(130);
    });
    Ok(())
}

fn targets() -> String {
    VIRTUAL.map(|address| format!("--target {address}")).join(" ")
}

/// Both clients at once would share one core with everything else: one client, many addresses.
fn real_traffic(site: &Site, requests: u32) -> Result<Report> {
    let (client, ranges) = CLIENT_RANGES[0];
    let ranges = ranges.map(|range| format!("--source-range {range}")).join(" ");
    let words = format!(
        "{} {ranges} --source-freebind --flow http=100 --requests {requests} --flow udp=10 --udp-port 7 --messages 50 --interval 20ms",
        targets()
    );
    traffic::run(site.lab(), client, &words)
}

fn narrow_link(site: &Site) -> Result<Report> {
    for host in HOSTS {
        site.lab().set_mtu("site", host, 1320)?;
    }
    let words = format!(
        "{} --flow upload=4 --upload-path /upload/demo --upload-bytes 10M --flow download=4 --download-path /bytes/10M",
        targets()
    );
    let report = traffic::run(site.lab(), "c2", &words)?;
    for host in HOSTS {
        site.lab().set_mtu("site", host, 1500)?;
    }
    Ok(report)
}

fn killed_router(site: &mut Site) -> Result<Report> {
    let words = format!("{} --flow keepalive=50 --think 20ms --flow http=10 --duration 5s", targets());
    let running = traffic::start(site.lab(), "c1", &words)?;
    thread::sleep(Duration::from_millis(500)); // let the flows get going; what follows is the scene's script
    site.router()?.kill()?;
    let killed = Instant::now();
    thread::sleep(AWAY.saturating_sub(killed.elapsed()));
    site.start_router()?;
    running.finish()
}

fn new_weight(site: &mut Site) -> Result<Report> {
    let words = format!("{} --flow keepalive=50 --think 20ms --duration 3s", targets());
    let running = traffic::start(site.lab(), "c1", &words)?;
    thread::sleep(Duration::from_millis(500)); // as above
    *site.options_mut() = SiteOptions::default().weights([100, 10, 50]);
    site.write_config("h2")?;
    let (answer, accepted) = site.reload_host("h2")?;
    if !accepted {
        return Err(io::Error::other(answer)).context("hostd refused the new weight");
    }
    running.finish()
}

fn drain(site: &Site) -> Result<(Report, String)> {
    let words = format!("{} --flow http=10 --duration 5s", targets());
    let running = traffic::start(site.lab(), "c1", &words)?;
    thread::sleep(Duration::from_millis(500)); // as above
    let (said, accepted) = site.tell("slr1", "slr-router", &["drain", "h1", "--wait", "--timeout", "20"])?;
    if !accepted {
        return Err(io::Error::other(said)).context("h1 does not drain");
    }
    let (answer, accepted) = site.tell("slr1", "slr-router", &["undrain", "h1"])?;
    if !accepted {
        return Err(io::Error::other(answer)).context("h1 stays drained");
    }
    Ok((running.finish()?, said))
}

/// How long it took until the router knew, and what clients saw meanwhile.
fn frozen(site: &Site) -> Result<(f64, String, Report)> {
    let words = format!("{} --flow udp=20 --udp-port 7 --messages 100 --interval 30ms", targets());
    let running = traffic::start(site.lab(), "c1", &words)?;
    thread::sleep(Duration::from_millis(500)); // as above
    let began = Instant::now();
    servers::signal_nginx(site, "h3", Signal::SIGSTOP)?;
    let is_down = slr_testkit::holds_within(Duration::from_secs(5), || frozen_alone(site).unwrap_or(false));
    let seconds = if is_down { began.elapsed().as_secs_f64() } else { f64::INFINITY };
    let states = tables::states(site, "h3")?;
    let report = running.finish()?;
    servers::signal_nginx(site, "h3", Signal::SIGCONT)?;
    Ok((seconds, states, report))
}

/// Whether h3 is down for its web servers and active for everything else.
fn frozen_alone(site: &Site) -> Result<bool> {
    let states = site.show("states")?;
    let own = states.as_array().context("states are a list")?.iter().filter(|state| state["host"] == "h3");
    let mut found = 0;
    for state in own {
        found += 1;
        let is_web = state["service"].as_str().is_some_and(|service| service.starts_with("tcp/80@"));
        if state["state"] != if is_web { "down" } else { "active" } {
            return Ok(false);
        }
    }
    Ok(found > 0)
}

/// How long it took until the router had no hop for h2 any more, and what it said.
fn revoked(site: &Site) -> Result<(f64, String)> {
    let began = Instant::now();
    site.authority()?.revoke("h2", &["slr1"])?;
    let is_gone = || {
        let hosts = site.show("hosts").ok();
        hosts.is_some_and(|hosts| hosts.as_array().is_some_and(|all| all.iter().all(|host| host["name"] != "h2")))
    };
    let is_gone = slr_testkit::holds_within(Duration::from_secs(5), is_gone);
    let seconds = if is_gone { began.elapsed().as_secs_f64() } else { f64::INFINITY };
    let log = site.router()?.log_tail();
    let said = log.lines().rev().find(|line| line.contains("revoked")).unwrap_or("").trim().to_owned();
    Ok((seconds, said))
}
