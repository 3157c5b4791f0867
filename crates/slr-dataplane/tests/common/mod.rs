//! What the tests of the router's program share: a small site as a desired state, a router that runs packets one by one
//! and says by which reason each ended, and a reader for what comes out.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod outer;
pub mod site;

use std::cell::RefCell;
use std::time::Duration;

use slr_dataplane::capture::{Action, Capture, Captured, Filter, SNAP_MAX};
use slr_dataplane::reason::{RouterReason, Verdict};
use slr_dataplane::router::{Counter, Desired, Router, RouterOptions, TestRun, XdpVerdict};

/// Small enough to load quickly; no test fills them by accident.
const FLOWS: u32 = 1 << 14;

/// A loaded router and what it was told.
pub struct Bed {
    pub router: Router,
    pub desired: Desired,
    counters: RefCell<Vec<(RouterReason, Counter)>>,
    /// Packets go through this instead of the plain program, and are looked at.
    capture: Option<RefCell<Capture>>,
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
        let mut bed = Self { router, desired, counters, capture: None };
        bed.apply();
        bed
    }

    /// The same bed, whose packets go through the program that captures: it must do what the plain one does, and tell it.
    pub fn capturing(mut self) -> Self {
        let capture = self.router.capture().expect("the program loads");
        let filter = Filter { snap: SNAP_MAX, per_s: 1_000_000, ..Filter::default() };
        capture.set(&filter, Duration::from_secs(3_600)).expect("a filter is set");
        self.capture = Some(RefCell::new(capture));
        self
    }

    /// This bed with everything forgotten but the programs.
    pub fn anew(self, desired: Desired) -> Self {
        let capture = self.capture;
        Self { capture, ..Self::around(self.router, desired) }
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
        let run = match &self.capture {
            None => self.router.test_run(frame),
            Some(capture) => capture.borrow().test_run(frame),
        };
        let run = run.expect("the program runs");
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
        if let Some(capture) = &self.capture {
            check_captured(&capture.borrow_mut().take().expect("the ring is read"), frame, reason, &run);
        }
        Outcome { reason, verdict: run.verdict, packet: run.packet, bytes }
    }
}

/// What was captured is the one packet, before and after.
fn check_captured(captured: &[Captured], frame: &[u8], reason: RouterReason, run: &TestRun) {
    let [packet] = captured else { panic!("{reason:?}: one packet, {} captured", captured.len()) };
    assert_eq!(packet.reason, reason as u32, "{reason:?}");
    let kept = |bytes: &[u8]| bytes[..bytes.len().min(SNAP_MAX as usize)].to_vec();
    assert_eq!((packet.before.len as usize, &packet.before.bytes), (frame.len(), &kept(frame)), "{reason:?}: before");
    let (action, left) = match run.verdict {
        XdpVerdict::Tx => (Action::Tx, true),
        XdpVerdict::Redirect => (Action::Redirect, true),
        XdpVerdict::Pass => (Action::Pass, run.packet.len() != frame.len()),
        XdpVerdict::Drop | XdpVerdict::Aborted => (Action::Drop, false),
    };
    assert_eq!(packet.action, action, "{reason:?}");
    let after = packet.after.as_ref().map(|after| (after.len as usize, after.bytes.clone()));
    assert_eq!(after, left.then(|| (run.packet.len(), kept(&run.packet))), "{reason:?}: after");
    assert!(packet.hop != 0 || reason.verdict() != Verdict::Forward, "{reason:?}: to nobody");
}
