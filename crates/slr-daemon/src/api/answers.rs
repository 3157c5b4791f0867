//! Answers of the daemon's loop, used again while they are fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::admin::Asker;

/// How long an answer is used again.
pub const FRESH: Duration = Duration::from_millis(200);
/// So many different questions are remembered; one more, and those that are not fresh are forgotten.
const REMEMBERED: usize = 64;

/// An answer, or why there is none.
pub type Said = Result<Bytes, String>;

/// One question's answer. Whoever comes while it is asked for waits for the same one.
type Slot = Arc<Mutex<Option<(Instant, Said)>>>;

/// The way to the loop.
pub struct Answers {
    asker: Asker,
    slots: Mutex<BTreeMap<String, Slot>>,
}

impl Answers {
    pub fn new(asker: Asker) -> Self {
        Self { asker, slots: Mutex::default() }
    }

    /// What the loop says to a request.
    pub async fn of(&self, request: Value) -> Said {
        let slot = self.slot(request.to_string()).await;
        let mut slot = slot.lock().await;
        if let Some((at, said)) = &*slot
            && at.elapsed() < FRESH
        {
            return said.clone();
        }
        let answer = self.asker.ask(request).await;
        let said = match (answer.get("ok"), answer.get("error").and_then(Value::as_str)) {
            (Some(value), _) => Ok(Bytes::from(value.to_string())),
            (None, why) => Err(why.unwrap_or("the daemon gave no answer").to_owned()),
        };
        *slot = Some((Instant::now(), said.clone()));
        said
    }

    async fn slot(&self, question: String) -> Slot {
        let mut slots = self.slots.lock().await;
        if slots.len() >= REMEMBERED {
            let is_fresh = |slot: &Slot| {
                slot.try_lock().map_or(true, |held| held.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH))
            };
            slots.retain(|_, slot| is_fresh(slot));
        }
        slots.entry(question).or_default().clone()
    }
}
