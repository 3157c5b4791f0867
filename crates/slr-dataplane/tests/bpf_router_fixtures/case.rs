//! A case of the table: a site, packets in order, and for each the reason it ends by and what comes out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use slr_dataplane::reason::{RouterReason, Verdict};
use slr_dataplane::router::{Desired, Router, RouterOptions, XdpVerdict};

use crate::common::outer::{self, Tunnelled};
use crate::common::{Bed, site};

/// A change of the desired state between packets.
type Change = Box<dyn Fn(&mut Desired)>;

pub struct Case {
    pub name: String,
    steps: Vec<Step>,
}

enum Step {
    Change(Change),
    Send(Send),
}

struct Send {
    frame: Vec<u8>,
    reason: RouterReason,
    host: Host,
    /// What the tunnel carries, if that is not what came behind the link header.
    inner: Option<Vec<u8>>,
    reply: Option<Vec<u8>>,
    redirected: bool,
}

enum Host {
    Any,
    Is(&'static str),
    SameAsBefore,
}

/// Start a case.
pub fn case(name: impl Into<String>) -> Case {
    Case { name: name.into(), steps: Vec::new() }
}

impl Case {
    /// Send a frame: it must end by this reason.
    pub fn send(mut self, frame: Vec<u8>, reason: RouterReason) -> Self {
        let (host, inner, reply, redirected) = (Host::Any, None, None, false);
        self.steps.push(Step::Send(Send { frame, reason, host, inner, reply, redirected }));
        self
    }

    /// Change the desired state.
    pub fn change(mut self, change: impl Fn(&mut Desired) + 'static) -> Self {
        self.steps.push(Step::Change(Box::new(change)));
        self
    }

    /// The last frame goes to this host.
    pub fn to(self, host: &'static str) -> Self {
        self.last(|send| send.host = Host::Is(host))
    }

    /// The last frame goes where the one forwarded before it went.
    pub fn same_host(self) -> Self {
        self.last(|send| send.host = Host::SameAsBefore)
    }

    /// The tunnel carries this.
    pub fn inner(self, datagram: Vec<u8>) -> Self {
        self.last(|send| send.inner = Some(datagram))
    }

    /// The answer is this frame.
    pub fn reply(self, frame: Vec<u8>) -> Self {
        self.last(|send| send.reply = Some(frame))
    }

    /// It leaves by another interface than it came in on.
    pub fn redirected(self) -> Self {
        self.last(|send| send.redirected = true)
    }

    fn last(mut self, change: impl FnOnce(&mut Send)) -> Self {
        match self.steps.last_mut() {
            Some(Step::Send(send)) => change(send),
            _ => panic!("{}: an expectation belongs to a frame", self.name),
        }
        self
    }

    /// The reasons that its frames end by.
    pub fn reasons(&self) -> impl Iterator<Item = RouterReason> {
        self.steps.iter().filter_map(|step| match step {
            Step::Send(send) => Some(send.reason),
            Step::Change(_) => None,
        })
    }

    /// Run it on a bed that holds the plain site.
    pub fn run(&self, bed: &mut Bed) {
        let mut before = None;
        let mut number = 0;
        for step in &self.steps {
            match step {
                Step::Change(change) => bed.change(change),
                Step::Send(send) => {
                    number += 1;
                    send.check(bed, &mut before, &format!("{}, frame {number}", self.name));
                }
            }
        }
    }
}

impl Send {
    fn check(&self, bed: &Bed, before: &mut Option<String>, at: &str) {
        let outcome = bed.send(&self.frame);
        assert_eq!(outcome.reason, self.reason, "{at}");
        assert_eq!(outcome.verdict == XdpVerdict::Redirect, self.redirected, "{at}: redirected");
        match self.reason.verdict() {
            Verdict::Forward => {
                let out = outer::read(&outcome.packet, &bed.desired);
                self.check_tunnel(&out, before.as_deref(), at);
                *before = Some(out.host);
            }
            Verdict::Reply => {
                let reply = self.reply.as_ref().unwrap_or_else(|| panic!("{at}: an answer needs its bytes"));
                assert_eq!(&outcome.packet, reply, "{at}: the answer");
            }
            Verdict::Drop | Verdict::Pass => {}
        }
    }

    fn check_tunnel(&self, out: &Tunnelled, before: Option<&str>, at: &str) {
        let plain = &self.frame[outer::l3_offset(&self.frame)..];
        assert_eq!(out.inner, self.inner.as_deref().unwrap_or(plain), "{at}: the client's datagram");
        match self.host {
            Host::Any => {}
            Host::Is(host) => assert_eq!(out.host, host, "{at}: host"),
            Host::SameAsBefore => assert_eq!(Some(&*out.host), before, "{at}: host of the frame before"),
        }
    }
}

/// Run cases one after the other on one router that forgets between them: through the plain program, and through the one that
/// captures. All run, then the failures are told.
pub fn run_all(cases: &[Case]) {
    assert!(!cases.is_empty());
    let mut failed = Vec::new();
    for mut bed in [Bed::new(site::site()), Bed::new(site::site()).capturing()] {
        for case in cases {
            if catch_unwind(AssertUnwindSafe(|| case.run(&mut bed))).is_err() {
                failed.push(case.name.as_str());
            }
            // Without hosts every generation ends, and with it what the router knew.
            bed.change(|desired| *desired = Desired::default());
            bed.change(|desired| *desired = site::site());
            let desired = bed.desired.clone();
            bed = bed.anew(desired);
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:#?}", failed.len(), cases.len());
}

/// Run one case on a router of its own.
pub fn run_one(case: Case) {
    case.run(&mut Bed::new(site::site()));
}

/// A router whose tables hold this few flows.
pub fn small_router(flows_per_family: u32) -> Router {
    slr_testkit::require_root();
    let options = RouterOptions { pin_dir: None, flows_per_family, new_flows_per_family: 1 << 16 };
    Router::load(&options).expect("the program loads").0
}
