//! What the tests of the router's program share: a small site as a desired state, a router that runs packets one by one
//! and says by which reason each ended, and a reader for what comes out.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod outer;
pub mod site;

use std::cell::RefCell;

use slr_dataplane::reason::{RouterReason, Verdict};
use slr_dataplane::router::{Counter, Desired, Router, RouterOptions, XdpVerdict};

/// Small enough to load quickly; no test fills them by accident.
const FLOWS: u32 = 1 << 14;

/// A loaded router and what it was told.
pub struct Bed {
    pub router: Router,
    pub desired: Desired,
    counters: RefCell<Vec<(RouterReason, Counter)>>,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reason: RouterReason,
    pub verdict: XdpVerdict,
    pub packet: Vec<u8>,
    /// What the reason's byte counter grew by.
    pub bytes: u64,
}

impl Bed {
    /// A router, not pinned, with this desired state.
    pub fn new(desired: Desired) -> Self {
        Self::with_capacity(desired, FLOWS)
    }

    /// The same with tables for this many pinned flows.
    pub fn with_capacity(desired: Desired, flows_per_family: u32) -> Self {
        slr_testkit::require_root();
        let options = RouterOptions { pin_dir: None, flows_per_family, new_flows_per_family: FLOWS };
        let (router, _) = Router::load(&options).expect("the program loads");
        Self::around(router, desired)
    }

    /// A bed around a router that is loaded already.
    pub fn around(router: Router, desired: Desired) -> Self {
        let counters = RefCell::new(router.reasons().expect("counters can be read"));
        let mut bed = Self { router, desired, counters };
        bed.apply();
        bed
    }

    /// Change the desired state and apply it.
    pub fn change(&mut self, change: impl FnOnce(&mut Desired)) {
        change(&mut self.desired);
        self.apply();
    }

    fn apply(&mut self) {
        self.router.apply(&self.desired).expect("the desired state is consistent");
    }

    /// Run one packet. Exactly one reason counts exactly one packet, the verdict is that reason's, and what passes to the
    /// kernel is untouched.
    pub fn send(&self, frame: &[u8]) -> Outcome {
        let outcome = self.observe(frame);
        if outcome.reason.verdict() == Verdict::Pass {
            assert_eq!(outcome.packet, frame, "{:?}: what passes is untouched", outcome.reason);
        }
        outcome
    }

    /// The same without the last condition.
    pub fn observe(&self, frame: &[u8]) -> Outcome {
        let run = self.router.test_run(frame).expect("the program runs");
        let after = self.router.reasons().expect("counters can be read");
        let mut grown = Vec::new();
        for ((reason, new), (_, old)) in after.iter().zip(self.counters.borrow().iter()) {
            if new != old {
                grown.push((*reason, new.packets - old.packets, new.bytes - old.bytes));
            }
        }
        self.counters.replace(after);
        let [(reason, 1, bytes)] = grown[..] else {
            panic!("one packet, one reason; counted were {grown:?} for {frame:02x?}, {:?}", run.verdict)
        };
        let fits = match reason.verdict() {
            Verdict::Drop => run.verdict == XdpVerdict::Drop,
            Verdict::Pass => run.verdict == XdpVerdict::Pass,
            Verdict::Reply => run.verdict == XdpVerdict::Tx,
            Verdict::Forward => matches!(run.verdict, XdpVerdict::Tx | XdpVerdict::Redirect),
        };
        assert!(fits && reason != RouterReason::Unset, "{reason:?} ended as {:?} for {frame:02x?}", run.verdict);
        Outcome { reason, verdict: run.verdict, packet: run.packet, bytes }
    }
}
