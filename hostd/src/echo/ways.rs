//! Whether what leaves with a virtual source address gets anywhere, and comes back through an SLR: tried with echoes to an address outside,
//! from a virtual address and from this host's own. They are those that stalled flows are told by: the answer to one from a virtual
//! address takes the way of a client's packets, and a router sends it on only if it is authentic.
//!
//! Pure: echoes are sent by who calls, answers come in by their serial numbers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slr_model::{FlowKey, VirtualSubnet};

use crate::status::{WayOut, WayOutcome};

/// When echoes are sent again, for those that were lost.
const AGAIN_AFTER: Duration = Duration::from_millis(400);
/// How often they are sent.
const ROUNDS: u32 = 3;
/// How long the last ones are waited for.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What is to be tried.
pub struct Asked {
    /// This machine's own address on the way there; `None`: it has none of this family.
    pub own: Option<IpAddr>,
    /// A virtual subnet each, and the flow that its echo tells of: of nobody, from the address outside to a virtual one.
    pub flows: Vec<(VirtualSubnet, FlowKey)>,
    /// Takes the outcome, one for each subnet.
    pub answer: Box<dyn FnOnce(Vec<WayOut>) + Send>,
}

/// Whose source address an echo has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A virtual one.
    Virtual,
    /// This machine's own.
    Own(IpAddr),
}

struct Way {
    subnet: VirtualSubnet,
    flow: FlowKey,
    has_come: bool,
    own_has_come: bool,
    problem: Option<WayOutcome>,
}

struct Trial {
    asked: Asked,
    ways: Vec<Way>,
    sent: BTreeMap<u64, (usize, Source)>,
    rounds: u32,
    due: Instant,
}

/// What is being tried.
#[derive(Default)]
pub struct Trials(Vec<Trial>);

impl Trials {
    /// From now on.
    pub fn begin(&mut self, now: Instant, asked: Asked) {
        let way = |&(subnet, flow): &(VirtualSubnet, FlowKey)| Way {
            subnet,
            flow,
            has_come: false,
            own_has_come: false,
            problem: None,
        };
        let ways = asked.flows.iter().map(way).collect();
        self.0.push(Trial { asked, ways, sent: BTreeMap::new(), rounds: 0, due: now });
    }

    /// An answer has come. Whether it is one of these.
    pub fn answered(&mut self, now: Instant, serial: u64) -> bool {
        for trial in &mut self.0 {
            let Some(&(index, source)) = trial.sent.get(&serial) else { continue };
            let way = &mut trial.ways[index];
            match source {
                Source::Virtual => way.has_come = true,
                Source::Own(_) => way.own_has_come = true,
            }
            if trial.ways.iter().all(|way| way.has_come) {
                trial.due = now;
            }
            return true;
        }
        false
    }

    /// When [`Trials::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().map(|trial| trial.due).min()
    }

    /// Sends what is due and answers what is over. `send` gives the serial number of an echo, or why there is none.
    pub fn handle_timeout(&mut self, now: Instant, mut send: impl FnMut(FlowKey, Source) -> Result<u64, WayOutcome>) {
        let mut at = 0;
        while at < self.0.len() {
            let trial = &mut self.0[at];
            if trial.due <= now && (trial.rounds == ROUNDS || trial.ways.iter().all(Way::is_over)) {
                self.0.swap_remove(at).tell();
                continue;
            }
            if trial.due <= now {
                trial.round(&mut send);
                trial.due = now + if trial.rounds == ROUNDS { LAST_WAIT } else { AGAIN_AFTER };
            }
            at += 1;
        }
    }
}

impl Way {
    fn is_over(&self) -> bool {
        self.has_come || self.problem.is_some()
    }
}

impl Trial {
    fn round(&mut self, send: &mut impl FnMut(FlowKey, Source) -> Result<u64, WayOutcome>) {
        self.rounds += 1;
        let own = self.asked.own.map(Source::Own);
        for (index, way) in self.ways.iter_mut().enumerate().filter(|(_, way)| !way.is_over()) {
            for source in [Some(Source::Virtual), own.filter(|_| !way.own_has_come)].into_iter().flatten() {
                match (send(way.flow, source), source) {
                    (Ok(serial), _) => drop(self.sent.insert(serial, (index, source))),
                    (Err(problem), Source::Virtual) => way.problem = Some(problem),
                    (Err(_), Source::Own(_)) => {} // then nothing is known of the address
                }
            }
        }
    }

    fn tell(self) {
        let Self { asked, ways, .. } = self;
        let told = ways.into_iter().map(|way| WayOut {
            subnet: way.subnet,
            from: way.flow.virtual_host().ip(),
            own: asked.own,
            outcome: match way.problem {
                _ if way.has_come => WayOutcome::Answered,
                Some(problem) => problem,
                None if way.own_has_come => WayOutcome::Withheld,
                None => WayOutcome::Silent,
            },
        });
        (asked.answer)(told.collect());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const OWN: &str = "10.1.11.2";

    /// Begins a trial of two subnets; what it answers.
    fn begun(now: Instant) -> (Trials, mpsc::Receiver<Vec<WayOut>>) {
        let (tell, told) = mpsc::channel();
        let flow = |at: &str| {
            let ends = ("198.51.100.1:9".parse().unwrap(), at.parse().unwrap());
            FlowKey::new(ends.0, ends.1, slr_model::Protocol::Tcp).unwrap()
        };
        let mut trials = Trials::default();
        let flows = [("192.0.2.0/24", "192.0.2.1:80"), ("203.0.113.0/24", "203.0.113.1:80")];
        trials.begin(
            now,
            Asked {
                own: Some(OWN.parse().unwrap()),
                flows: flows.iter().map(|(subnet, at)| (subnet.parse().unwrap(), flow(at))).collect(),
                answer: Box::new(move |ways| tell.send(ways).unwrap()),
            },
        );
        (trials, told)
    }

    /// Runs until the end, answering the echoes that `is_answered` says; outcomes, and how many were sent.
    fn outcomes(is_answered: impl Fn(IpAddr, Source) -> bool) -> (Vec<WayOutcome>, u64, Duration) {
        let begin = Instant::now();
        let (mut trials, told) = begun(begin);
        let (mut now, mut serial) = (begin, 0);
        while let Some(due) = trials.poll_timeout() {
            now = now.max(due);
            let mut answered = Vec::new();
            trials.handle_timeout(now, |flow, source| {
                serial += 1;
                if is_answered(flow.virtual_host().ip(), source) {
                    answered.push(serial);
                }
                Ok(serial)
            });
            answered.into_iter().for_each(|serial| assert!(trials.answered(now, serial)));
        }
        let outcomes = told.try_recv().unwrap().into_iter().map(|way| way.outcome).collect();
        (outcomes, serial, now - begin)
    }

    #[test]
    fn what_comes_back_from_where_decides() {
        use WayOutcome::{Answered, Silent, Withheld};
        let (ends, sent, took) = outcomes(|_, _| true);
        assert_eq!((ends, sent, took), (vec![Answered, Answered], 4, Duration::ZERO), "all at once");
        let (ends, sent, took) = outcomes(|at, source| source != Source::Virtual || at.to_string() == "192.0.2.1");
        assert_eq!(ends, [Answered, Withheld], "one subnet is filtered");
        assert_eq!(sent, 6, "what is answered is not asked again, and that of the other thrice");
        assert_eq!(took, 2 * AGAIN_AFTER + LAST_WAIT);
        assert_eq!(outcomes(|_, _| false).0, [Silent, Silent], "nothing is known of an address that answers nobody");
    }

    #[test]
    fn without_a_key_there_is_nothing_to_wait_for() {
        let now = Instant::now();
        let (mut trials, told) = begun(now);
        trials.handle_timeout(now, |_, _| Err(WayOutcome::NoKey));
        trials.handle_timeout(now + AGAIN_AFTER, |_, _| unreachable!("nothing is left to be tried"));
        assert!(told.try_recv().unwrap().iter().all(|way| way.outcome == WayOutcome::NoKey));
        assert_eq!(trials.poll_timeout(), None);
        assert!(!trials.answered(now, 7), "an answer that nobody waits for");
    }
}
