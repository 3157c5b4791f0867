//! Counting again and again, on a thread beside the loop: with a hundred thousand connections a count takes a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slr_model::VirtualSubnet;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::Survey;

/// How often, while nothing depends on it but a load value.
const CALM: Duration = Duration::from_secs(1);
/// How often, while somebody waits for the last flow to end.
const EAGER: Duration = Duration::from_millis(200);
/// Counting takes at most one part in so many of the time: a count that takes 50 ms is made once a second.
const REST: u32 = 20;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    subnets: Arc<[VirtualSubnet]>,
    eager: bool,
}

/// A count, or why there is none.
#[derive(Debug)]
pub struct Count {
    /// What was counted.
    pub survey: Result<Survey, String>,
    /// A moment before it was counted: later changes are not in it.
    pub at: Instant,
}

/// The counting task; dropping it ends it.
#[derive(Debug)]
pub struct Surveyor {
    wanted: watch::Sender<Wanted>,
    counts: mpsc::Receiver<Count>,
    task: JoinHandle<()>,
}

impl Surveyor {
    /// Counts connections at addresses of these subnets from now on.
    pub fn start(subnets: Vec<VirtualSubnet>) -> Self {
        let (wanted, wish) = watch::channel(Wanted { subnets: subnets.into(), eager: false });
        let (send, counts) = mpsc::channel(1);
        Self { wanted, counts, task: tokio::spawn(count_forever(wish, send)) }
    }

    /// From now on of these subnets.
    pub fn set_subnets(&self, subnets: Vec<VirtualSubnet>) {
        self.wanted.send_if_modified(|wanted| {
            let changes = *wanted.subnets != *subnets;
            wanted.subnets = subnets.into();
            changes
        });
    }

    /// Whether somebody waits for the last flow to end.
    pub fn set_eager(&self, eager: bool) {
        self.wanted.send_if_modified(|wanted| std::mem::replace(&mut wanted.eager, eager) != eager);
    }

    /// The next count; never ends. Cancel-safe.
    pub async fn next(&mut self) -> Count {
        match self.counts.recv().await {
            Some(count) => count,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Surveyor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn count_forever(mut wish: watch::Receiver<Wanted>, counts: mpsc::Sender<Count>) {
    loop {
        let wanted = wish.borrow_and_update().clone();
        let at = Instant::now();
        let subnets = Arc::clone(&wanted.subnets);
        let survey = match spawn_blocking(move || Survey::take(&subnets)).await {
            Ok(survey) => survey.map_err(|error| error.to_string()),
            // The runtime ends.
            Err(_) => return,
        };
        let interval = if wanted.eager { EAGER } else { CALM };
        let pause = survey.as_ref().map_or(CALM, |survey| interval.max(survey.took * REST));
        if counts.send(Count { survey, at }).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = wish.changed() => if changed.is_err() { return },
        }
    }
}
