//! What the threshold of a stall costs and gains: echoes that nothing called for, per flow and minute, on paths without a failure; and
//! the CPU of the hosts' daemons. (How soon flows go on at each is what the drill `route-change --rungs echo-20ms` and so on says.)

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slr_testkit::lab::Shaping;

use crate::pair::{HOSTS, Pair, VIRTUAL};
use crate::traffic;

/// Flows of the kinds whose server waits for something, as drills have them.
const FLOWS: &str = "--flow interactive=250 --flow keepalive=200 --flow download=100 --flow upload=100 --interval 200ms --think 200ms \
                     --download-path /bytes/{bytes}?rate=10000 --download-bytes 100M --upload-rate 10000 --upload-bytes 100M --http-port 8080 \
                     --source-range 10.0.101.0/24 --source-range fd00:0:101::/120 --source-freebind --ramp 2s --timeout 20s --stall-timeout 20s";
/// How many flows these are.
const COUNT: f64 = 650.0;
/// Flows begin, and sweeps learn how often each speaks.
const SETTLED: Duration = Duration::from_secs(5);
/// One way, of the client's link.
const DELAY: Duration = Duration::from_millis(5);
/// USER_HZ, which is part of the kernel's interface (proc(5)).
const TICKS_PER_S: f64 = 100.0;

/// What was seen at a threshold and a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// `stall_ms`; 0: not watched.
    pub stall_ms: u64,
    /// Of packets, in each direction.
    pub loss_percent: f64,
    /// Echoes per flow and minute.
    pub echoes: f64,
    /// Of a core, in per cent, all hosts' daemons together.
    pub hostd_percent: f64,
}

/// Gives every virtual subnet of every host this threshold.
pub fn set(pair: &Pair, stall_ms: u64) -> Result<()> {
    for host in HOSTS {
        let path = pair.config_path(host);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let lines = text.lines().filter(|line| !line.starts_with("stall_ms = "));
        let with = |line: &str| match line {
            "[[subnet]]" => format!("{line}\nstall_ms = {stall_ms}\n"),
            other => format!("{other}\n"),
        };
        fs::write(&path, lines.map(with).collect::<String>())?;
        pair.tell(host, &["reload"])?;
    }
    Ok(())
}

/// Runs flows for so long at a threshold and a loss, and counts.
pub fn measure(pair: &Pair, stall_ms: u64, loss_percent: f64, time: Duration) -> Result<Row> {
    set(pair, stall_ms)?;
    pair.lab().shape("c1", "internet", Shaping::clear().delay(DELAY).loss(loss_percent / 100.0))?;
    let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
    let whole = SETTLED + time + Duration::from_secs(2);
    let running = traffic::start(pair.lab(), "c1", &format!("{targets} {FLOWS} --duration {}s", whole.as_secs()))?;
    std::thread::sleep(SETTLED);
    let (begun, echoes, ticks) = (Instant::now(), asked(pair)?, ticks(pair)?);
    std::thread::sleep(time);
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let (echoes, ticks) = (asked(pair)? - echoes, self::ticks(pair)? - ticks);
    running.interrupt()?;
    let report = running.finish()?;
    ensure!(report.total("started") > 0, "no flow ran");
    Ok(Row {
        stall_ms,
        loss_percent,
        echoes: echoes as f64 / COUNT / minutes,
        hostd_percent: ticks as f64 / TICKS_PER_S / (minutes * 60.0) * 100.0,
    })
}

fn asked(pair: &Pair) -> Result<u64> {
    let of = |host: &str| -> Result<u64> {
        let recovery: Value = pair.show(host, "recovery")?;
        let rows = recovery["echoes"].as_array().context("rows")?;
        rows.iter().find(|row| row[0] == "asked").and_then(|row| row[1].as_u64()).context("asked")
    };
    HOSTS.into_iter().map(of).sum()
}

/// Of user and kernel, of the hosts' daemons.
fn ticks(pair: &Pair) -> Result<u64> {
    let of = |host: &str| -> Result<u64> {
        let pid = pair.daemon(host)?.pid();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("proc_pid_stat(5)")?;
        let (_, fields) = stat.rsplit_once(") ").context("a name in parentheses")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        Ok(fields.get(11).context("utime")?.parse::<u64>()? + fields.get(12).context("stime")?.parse::<u64>()?)
    };
    HOSTS.into_iter().map(of).sum()
}
