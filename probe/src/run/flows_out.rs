//! `--flows-out`: what each flow did, one JSON object per line, written as flows end.
//!
//! ```text
//! {"kind", "target", "client", "flow", "began_us", "ended_us", "outcome", "detail"?,
//!  "servers": [{"server", "answers"}], "exchanges": {…as in the report…}, "bytes_sent", "bytes_received", "gap_us",
//!  "sends": [[first_us, last_us, events], …], "progress": [[first_us, last_us, events], …], "forgotten_spans"}
//! ```
//!
//! Times are microseconds since the run began. `outcome` is `completed`, `cut` or a cause of failure. Each triple of
//! `sends` and `progress` is a stretch of events at most a millisecond apart (see [`super::timeline`]).

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    flow::{Flow, Outcome},
    tally::Exchanges,
    timeline::Spans,
};

/// The file, and the first error on it (reported once, at the end: a full disk must not disturb the flows).
pub struct FlowsOut {
    path: PathBuf,
    file: BufWriter<File>,
    error: Option<std::io::Error>,
}

#[derive(Serialize)]
struct FlowLine<'a> {
    kind: &'static str,
    target: String,
    client: Option<String>,
    flow: String,
    began_us: u64,
    ended_us: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    servers: Vec<ServerLine>,
    exchanges: &'a Exchanges,
    bytes_sent: u64,
    bytes_received: u64,
    gap_us: u64,
    sends: Vec<(u64, u64, u32)>,
    progress: Vec<(u64, u64, u32)>,
    forgotten_spans: u64,
}

#[derive(Serialize)]
struct ServerLine {
    server: String,
    answers: u64,
}

impl FlowsOut {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create --flows-out {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), error: None })
    }

    /// Writes the line of a flow that ended at `now`.
    pub fn write(&mut self, flow: &Flow, now: Instant) {
        if self.error.is_none()
            && let Err(error) = self.try_write(flow, now)
        {
            self.error = Some(error);
        }
    }

    /// Completes the file.
    pub fn finish(&mut self) -> Result<()> {
        let flushed = self.file.flush();
        let result = self.error.take().map_or(flushed, Err);
        result.with_context(|| format!("cannot write --flows-out {}", self.path.display()))
    }

    fn try_write(&mut self, flow: &Flow, now: Instant) -> std::io::Result<()> {
        let began = flow.environment.began;
        let us = |at: Instant| at.saturating_duration_since(began).as_micros() as u64;
        let spans = |spans: &Spans| spans.iter().map(|span| (us(span.first), us(span.last), span.events)).collect();
        let (record, identities) = (&flow.record, flow.environment.identities.borrow());
        let (outcome, detail) = match &record.outcome {
            Outcome::Completed => ("completed", None),
            Outcome::Cut => ("cut", None),
            Outcome::Failed(failure) => (failure.cause.name(), Some(failure.detail.as_str())),
        };
        let servers = record.answers.iter();
        let line = FlowLine {
            kind: flow.group.plan.kind.name(),
            target: flow.group.plan.target.to_string(),
            client: record.client.map(|client| client.to_string()),
            flow: format!("{:016x}", flow.nonce),
            began_us: us(flow.begun),
            ended_us: us(now),
            outcome,
            detail,
            servers: servers
                .map(|&(server, answers)| ServerLine { server: identities.name(server).to_string(), answers })
                .collect(),
            exchanges: &record.exchanges,
            bytes_sent: record.bytes_sent,
            bytes_received: record.bytes_received,
            gap_us: record.timeline.longest_gap().as_micros() as u64,
            sends: spans(&record.timeline.sends),
            progress: spans(&record.timeline.progress),
            forgotten_spans: record.timeline.sends.forgotten + record.timeline.progress.forgotten,
        };
        serde_json::to_writer(&mut self.file, &line)?;
        self.file.write_all(b"\n")
    }
}
