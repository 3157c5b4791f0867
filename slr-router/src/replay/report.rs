//! What a replay prints: a line per packet as it goes, so that a million packets need no memory, and a summary.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use anyhow::Result;
use serde::Serialize;
use slr_daemon::table::Table;
use slr_model::NodeName;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Outcome {
    /// `tx`, `redirect`, `pass` or `drop`.
    pub verdict: &'static str,
    /// The reason's stable name.
    pub reason: &'static str,
    /// Where it was tunnelled to.
    pub host: Option<NodeName>,
}

impl Outcome {
    /// Whether a frame leaves the router.
    pub fn is_sent(&self) -> bool {
        matches!(self.verdict, "tx" | "redirect")
    }
}

/// One packet's line. Field names and their order are an interface: scripts read them.
#[derive(Serialize)]
pub struct Row<'a> {
    /// Number of the frame, from 1.
    pub n: u64,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What the packet was, for people.
    #[serde(skip)]
    pub summary: &'a dyn Fn() -> String,
}

/// The report under way.
pub struct Report {
    json: bool,
    out: BufWriter<Stdout>,
    /// Packets by outcome; at most reasons times hosts.
    counts: BTreeMap<Outcome, u64>,
}

impl Report {
    /// A report on stdout.
    pub fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(io::stdout()), counts: BTreeMap::new() }
    }

    /// Adds one packet.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        if self.json {
            let line = serde_json::to_string(row)?;
            return or_quit(writeln!(self.out, "{line}"));
        }
        if row.n == 1 {
            let header = writeln!(self.out, "{:>7}  {:<8} {:<20} {:<12} packet", "n", "verdict", "reason", "host");
            or_quit(header)?;
        }
        let Outcome { verdict, reason, host } = &row.outcome;
        let host = host.as_ref().map_or("-", |name| name.as_str());
        or_quit(writeln!(self.out, "{:>7}  {verdict:<8} {reason:<20} {host:<12} {}", row.n, (row.summary)()))?;
        *self.counts.entry(row.outcome.clone()).or_default() += 1;
        Ok(())
    }

    /// Prints the summary, and what is still buffered.
    pub fn finish(mut self) -> Result<()> {
        if !self.json {
            let mut table = Table::new(["verdict", "reason", "host", "packets"]);
            for (Outcome { verdict, reason, host }, count) in &self.counts {
                let host = host.as_ref().map_or("-", |name| name.as_str());
                table.row([verdict, reason, host, &count.to_string()]);
            }
            let total: u64 = self.counts.values().sum();
            or_quit(writeln!(self.out, "\n{table}\n\n{total} packets"))?;
        }
        or_quit(self.out.flush())
    }
}

/// A reader that went away (`| head`) ends the program quietly.
fn or_quit(done: io::Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_line_is_the_interface() {
        let line = |n, outcome| serde_json::to_string(&Row { n, outcome, summary: &String::new }).unwrap();
        let sent = Outcome { verdict: "tx", reason: "fwd_new", host: Some("h1".parse().unwrap()) };
        assert_eq!(line(1, sent), r#"{"n":1,"verdict":"tx","reason":"fwd_new","host":"h1"}"#);
        let passed = Outcome { verdict: "pass", reason: "pass_not_ours", host: None };
        assert_eq!(line(2, passed), r#"{"n":2,"verdict":"pass","reason":"pass_not_ours","host":null}"#);
    }

    #[test]
    fn only_frames_that_leave_are_written() {
        let sent = |verdict| Outcome { verdict, reason: "fwd_new", host: None }.is_sent();
        assert_eq!(["tx", "redirect", "pass", "drop"].map(sent), [true, true, false, false]);
    }
}
