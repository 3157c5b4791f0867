//! The lag as anybody sees it: a flow is in the first router's table, and when is it in the second's?

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use slr_dataplane::bench::Pinned;
use slr_session::mirror::LATE;

use super::flood::Flood;
use super::inside::Last;
use crate::statistics::Spread;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Between two flows that are looked for.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// Flows that are looked for at once: the looks must not cost what they measure.
const WAITING_MAX: usize = 64;
/// How often the daemon reads what its program has pinned.
const READ_EVERY: Duration = Duration::from_millis(20);
/// A flow that takes longer is not waited for.
const WITHIN: Duration = Duration::from_secs(3);

/// From being in one table to being in the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// Flows that were looked for.
    pub flows: usize,
    /// Of them, those that were not there within three seconds.
    pub absent: usize,
    /// Of them, those that were missing for longer than a mirror that is called warm may lack anything, when the first router
    /// was asked and said "warm". There must be none.
    pub called_warm: usize,
    /// Milliseconds, of the others.
    pub ms: Option<Spread>,
    /// The longest time between two looks in milliseconds: no figure is better than that.
    pub look_ms_max: f64,
}

struct Sample {
    flow: u32,
    pinned_at: Instant,
    called_warm: bool,
}

impl Sample {
    /// It is still missing. Was the router asked after it had been for too long, and said "warm"? (What was pinned is read by the
    /// daemon each 20 ms, and late from then on is what the bound is about.)
    fn hear(&mut self, newest: Option<(Instant, bool)>) {
        let too_long = self.pinned_at + LATE + READ_EVERY;
        self.called_warm |= newest.is_some_and(|(asked, is_warm)| is_warm && asked > too_long);
    }
}

/// Looks until nobody tells of new flows any more, and those that are looked for are there.
pub fn watch(tables: &[Pinned; 2], is_v6: bool, pinned: &Receiver<(u32, Instant)>, newest: &Last) -> Result<Outside> {
    let (mut waiting, mut ms) = (Vec::<Sample>::new(), Vec::new());
    let (mut flows, mut absent, mut called_warm, mut look_ms_max, mut is_over) = (0, 0, 0, 0.0f64, false);
    let mut sampled: Option<Instant> = None;
    let mut looked = Instant::now();
    while !is_over || !waiting.is_empty() {
        let told = loop {
            match pinned.recv_timeout(LOOK_EVERY.saturating_sub(looked.elapsed())) {
                Ok(told) if sampled.is_none_or(|at| at.elapsed() >= SAMPLE_EVERY) => break Some(told),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break None,
                Err(RecvTimeoutError::Disconnected) => {
                    is_over = true;
                    std::thread::sleep(LOOK_EVERY.saturating_sub(looked.elapsed()));
                    break None;
                }
            }
        };
        if let Some((end, at)) = told
            && waiting.len() < WAITING_MAX
            && tables[0].has(&Flood::flow(is_v6, end - 1))?
        {
            sampled = Some(at);
            waiting.push(Sample { flow: end - 1, pinned_at: at, called_warm: false });
            flows += 1;
        }
        let now = Instant::now();
        if !waiting.is_empty() {
            look_ms_max = look_ms_max.max((now - looked).as_secs_f64() * 1_000.0);
        }
        looked = now;
        let mut still = Vec::new();
        for mut sample in waiting {
            let answer = *newest.lock().expect("nobody panics with it");
            if tables[1].has(&Flood::flow(is_v6, sample.flow))? {
                ms.push(sample.pinned_at.elapsed().as_secs_f64() * 1_000.0);
                called_warm += usize::from(sample.called_warm);
            } else if sample.pinned_at.elapsed() > WITHIN {
                absent += 1;
                called_warm += usize::from(sample.called_warm);
            } else {
                sample.hear(answer);
                still.push(sample);
            }
        }
        waiting = still;
    }
    let ms = (!ms.is_empty()).then(|| Spread::of(&ms));
    Ok(Outside { flows, absent, called_warm, ms, look_ms_max })
}
