//! The sources at work: one task each, on its own interval, so that a slow one holds up nobody.

use std::path::Path;
use std::time::Duration;

use hyper::StatusCode;
use slr_model::LoadName;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::number::number;
use super::{Kind, Resource, Share, Source, cpu, pressure};
use crate::http::{self, Get};
use crate::{patience, process};

/// Readings that wait for the loop; each source has at most one.
const READINGS_MAX: usize = 32;
/// The first value of a counter that grows needs two looks: the second comes this soon, so that a host that has just
/// started is not long without a load.
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(100);
/// Longest document of the application that is read.
const DOCUMENT_LEN_MAX: usize = 64 << 10;

/// What a source gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which source.
    pub name: LoadName,
    /// The value, or why there is none.
    pub value: Result<f64, String>,
}

/// The running sources; dropping it ends them.
#[derive(Debug)]
pub struct Sampling {
    running: Vec<(Source, JoinHandle<()>)>,
    send: mpsc::Sender<Reading>,
    readings: mpsc::Receiver<Reading>,
}

impl Sampling {
    /// No sources yet.
    pub fn new() -> Self {
        let (send, readings) = mpsc::channel(READINGS_MAX);
        Self { running: Vec::new(), send, readings }
    }

    /// Reads exactly these; those that are read already and are the same go on.
    pub fn set(&mut self, wanted: &[Source]) {
        self.running.retain(|(source, task)| {
            let stays = wanted.contains(source);
            if !stays {
                task.abort();
            }
            stays
        });
        for source in wanted {
            if !self.running.iter().any(|(running, _)| running == source) {
                let task = tokio::spawn(read_forever(source.clone(), self.send.clone()));
                self.running.push((source.clone(), task));
            }
        }
    }

    /// The next reading; never ends. Cancel-safe.
    pub async fn next(&mut self) -> Reading {
        self.readings.recv().await.expect("one sender is ours")
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        for (_, task) in &self.running {
            task.abort();
        }
    }
}

async fn read_forever(source: Source, readings: mpsc::Sender<Reading>) {
    let mut memory = Memory::default();
    loop {
        let start = Instant::now();
        let value = read(&source, &mut memory).await;
        let is_first_look = value.is_none();
        if let Some(value) = value
            && readings.send(Reading { name: source.name.clone(), value }).await.is_err()
        {
            return;
        }
        if is_first_look {
            sleep(FIRST_LOOK_AFTER.min(source.interval)).await;
        } else {
            sleep_until(start + source.interval).await;
        }
    }
}

/// What counters said last, of the sources that compare.
#[derive(Default)]
struct Memory {
    cpu: Option<(cpu::Look, Instant)>,
    waited_us: Option<(u64, Instant)>,
}

/// Reads once; `None` if only a second look will tell.
async fn read(source: &Source, memory: &mut Memory) -> Option<Result<f64, String>> {
    let work = async {
        match &source.kind {
            Kind::Cpu { cgroup, cpus } => read_cpu(cgroup.as_deref(), *cpus, memory).await,
            Kind::Pressure { resource, share, cgroup } => {
                read_pressure(*resource, *share, cgroup.as_deref(), memory).await
            }
            // Counted with the drain's connections, by the loop.
            Kind::Connections => std::future::pending().await,
            Kind::Command { words } => Ok(Some(read_command(words, source.timeout).await?)),
            Kind::Http { get, pointer } => Ok(Some(read_http(get, pointer.as_deref()).await?)),
        }
    };
    let result = match &source.kind {
        // Has its own patience, to be killed by.
        Kind::Command { .. } | Kind::Connections => work.await,
        _ => patience::within(source.timeout, work)
            .await
            .unwrap_or_else(|| Err(format!("no answer within {} ms", source.timeout.as_millis()))),
    };
    result.transpose()
}

async fn read_cpu(cgroup: Option<&Path>, cpus: Option<f64>, memory: &mut Memory) -> Result<Option<f64>, String> {
    let look = cpu::Look::take(cgroup).await?;
    let now = Instant::now();
    // Asked each time: a quota changes while things run.
    let cpus = match (cgroup, cpus) {
        (Some(cgroup), None) => cpu::cpus_of(cgroup).await?,
        (_, cpus) => cpus.unwrap_or(1.0),
    };
    let before = memory.cpu.replace((look, now));
    Ok(before.and_then(|(before, then)| look.since(before, now - then, cpus)))
}

async fn read_pressure(
    resource: Resource,
    share: Share,
    cgroup: Option<&Path>,
    memory: &mut Memory,
) -> Result<Option<f64>, String> {
    let waited_us = pressure::waited_us(resource, share, cgroup).await?;
    let now = Instant::now();
    let before = memory.waited_us.replace((waited_us, now));
    Ok(before.and_then(|(before, then)| pressure::share(before, waited_us, now - then)))
}

async fn read_command(words: &[String], timeout: Duration) -> Result<f64, String> {
    let printed = process::run(words, &[], timeout).await.map_err(|error| error.to_string())?;
    number(&printed, None)
}

async fn read_http(get: &Get, pointer: Option<&str>) -> Result<f64, String> {
    let (status, body) = http::get(get, Some(DOCUMENT_LEN_MAX)).await.map_err(|error| error.to_string())?;
    if status != StatusCode::OK {
        return Err(format!("status {}", status.as_u16()));
    }
    number(&String::from_utf8_lossy(&body), pointer)
}

#[cfg(test)]
mod tests;
