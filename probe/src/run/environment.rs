//! What all flows of a run share, and what the flows of one group share. Everything runs on one thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    args::RunArgs,
    flows_out::FlowsOut,
    identity::Identities,
    kind::FlowKind,
    ledger::Ledger,
    plan::{GroupPlan, request_head},
    source::Sources,
    tally::Tally,
};
use crate::{pattern::Pattern, rng};

/// Shared by all flows.
pub struct Environment {
    pub args: RunArgs,
    pub sources: Sources,
    pub identities: RefCell<Identities>,
    pub pattern: Pattern,
    /// When the run began: the zero of every time in reports.
    pub began: Instant,
    pub flows_out: Option<RefCell<FlowsOut>>,
    /// Everything about every flow, for a drill.
    pub ledger: Option<Ledger>,
    /// Set when idle flows are to speak again.
    pub wake: watch::Receiver<bool>,
    /// Time over which woken flows spread their first words.
    pub idle_spread: Duration,
    /// Pause between two flows of the http kind in one slot, and after one of any kind that failed.
    pub pause: Duration,
    pub stop: watch::Receiver<bool>,
    pub nonces: Cell<u64>,
}

impl Environment {
    /// A number for a flow, unlike any other's.
    pub fn next_nonce(&self) -> u64 {
        let counter = self.nonces.get();
        self.nonces.set(counter.wrapping_add(1));
        rng::mix(counter)
    }

    /// The run is over, as far as new things are concerned.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until idle flows are to speak again.
    pub fn until_woken(&self) -> impl Future<Output = ()> + use<> {
        let mut wake = self.wake.clone();
        async move {
            // An error means that the sender is gone, and nobody will be woken: the end of the run does that.
            if wake.wait_for(|awake| *awake).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Waits until the run is over.
    pub fn until_stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stop = self.stop.clone();
        async move {
            // An error means that the sender is gone, and so is the run.
            let _ = stop.wait_for(|stopped| *stopped).await;
        }
    }
}

/// Flows of one kind to one target.
pub struct Group {
    pub plan: GroupPlan,
    /// Requests or transfers that nobody has taken yet (of the kinds that share them).
    left: Cell<Option<u64>>,
    /// Head of every request of this group; empty for kinds that send none.
    pub request: Vec<u8>,
    pub tally: RefCell<Tally>,
}

impl Group {
    /// A group that has done nothing yet.
    pub fn new(plan: GroupPlan, args: &RunArgs) -> Rc<Self> {
        let (target, upload) = (plan.target, args.upload_bytes);
        let request = match plan.kind {
            FlowKind::Http => request_head("GET", target, &args.path, true, None),
            FlowKind::Keepalive => request_head("GET", target, &args.path, false, None),
            FlowKind::Download => {
                let path = args.download_path.replace("{bytes}", &args.download_bytes.to_string());
                request_head("GET", target, &path, true, None)
            }
            FlowKind::Upload => request_head("PUT", target, &args.upload_path, true, Some(upload)),
            FlowKind::Interactive | FlowKind::Udp | FlowKind::Idle => Vec::new(),
        };
        Rc::new(Self { left: Cell::new(plan.budget), plan, request, tally: RefCell::new(Tally::new()) })
    }

    /// Takes one request or transfer of the group's budget; false when there is none left.
    pub fn take(&self) -> bool {
        match self.left.get() {
            None => true,
            Some(0) => false,
            Some(left) => {
                self.left.set(Some(left - 1));
                true
            }
        }
    }
}
