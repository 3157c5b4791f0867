//! What a drill is made on, as the system says.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{args::DrillArgs, result::Setup, scenario::Scenario};

/// Reads it.
pub fn read(args: &DrillArgs, scenario: &Scenario, targets: Vec<String>) -> Setup {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64);
    Setup {
        started_at_unix_ms: started,
        machine: machine(),
        kernel: line("/proc/sys/kernel/osrelease"),
        probe: env!("CARGO_PKG_VERSION").to_owned(),
        command_line: command_line(std::env::args()),
        way: args.way(),
        rtt_us: args.rtt.map(|rtt| rtt.as_micros() as u64),
        loss_percent: args.loss,
        targets,
        inject: scenario.inject.clone(),
        heal: scenario.heal.clone(),
    }
}

/// As it was given, the program by its name: where it lies says nothing about the result.
fn command_line(mut words: impl Iterator<Item = String>) -> String {
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find(|line| line.starts_with(name));
        found.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let memory = memory.map_or(String::new(), |kib| format!(", {} GiB", (kib + (1 << 19)) >> 20));
    format!("{cores} × {processor}{memory}")
}

fn line(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}
