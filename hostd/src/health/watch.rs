//! The checks at work: one task a service, tries one after the other. What they find goes to the daemon's loop.

use std::time::Duration;

use slr_model::ServiceKey;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::attempt::attempt;
use super::{Checked, Outcome};

/// Findings that wait for the loop. Each task has at most one, so this only spares them the wait for each other.
const FINDINGS_MAX: usize = 64;

/// What a try of a service came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which service.
    pub key: ServiceKey,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// The running checks; dropping it ends them.
#[derive(Debug)]
pub struct Watch {
    running: Vec<(Checked, JoinHandle<()>)>,
    send: mpsc::Sender<Finding>,
    findings: mpsc::Receiver<Finding>,
}

impl Watch {
    /// No checks yet.
    pub fn new() -> Self {
        let (send, findings) = mpsc::channel(FINDINGS_MAX);
        Self { running: Vec::new(), send, findings }
    }

    /// Runs exactly these; those that run already and are the same run on.
    pub fn set(&mut self, wanted: &[Checked]) {
        self.running.retain(|(checked, task)| {
            let stays = wanted.contains(checked);
            if !stays {
                task.abort();
            }
            stays
        });
        for checked in wanted {
            if !self.running.iter().any(|(running, _)| running == checked) {
                let task = tokio::spawn(check_forever(checked.clone(), self.send.clone()));
                self.running.push((checked.clone(), task));
            }
        }
    }

    /// The next finding; never ends. Cancel-safe. One of a check that was taken out meanwhile may still come.
    pub async fn next(&mut self) -> Finding {
        self.findings.recv().await.expect("one sender is ours")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for (_, task) in &self.running {
            task.abort();
        }
    }
}

async fn check_forever(checked: Checked, findings: mpsc::Sender<Finding>) {
    loop {
        let start = Instant::now();
        let outcome = attempt(&checked).await;
        let finding = Finding { key: checked.key, outcome, took: start.elapsed() };
        if findings.send(finding).await.is_err() {
            return;
        }
        tokio::time::sleep_until(start + checked.check.interval).await;
    }
}
