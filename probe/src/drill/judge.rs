//! What a failure did to one flow, out of its record. Pure: times are microseconds since the flows began.
//!
//! docs/measuring.md has the definitions in words; the tests below are the table of cases.

use crate::run::{kind::FlowKind, ledger::Trace};

/// What became of a flow that was open when the failure happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The same server process answered on, in sequence.
    Survived { recovery_us: u64 },
    /// Another server process answered.
    Moved,
    /// It was reset, this long after it first said something after the failure.
    Reset { after_us: u64 },
    /// It failed in another way, or nothing ever came again.
    Failed { cause: &'static str, after_us: u64 },
    /// It was owed nothing and said nothing, so nothing is known.
    Untested,
}

/// A flow, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub fate: Fate,
    /// Its longest wait without progress after the failure.
    pub wait_us: u64,
    /// It failed after what had failed came back.
    pub after_heal: bool,
}

/// Cause of a flow that did not fail, but never moved again either.
const SILENT: &str = "no-progress";

/// Judges a flow; `None` when it was not open, or not established, when the first failure happened. `failures` are in
/// order and not empty.
pub fn judge(trace: &Trace, failures: &[u64], healed_us: Option<u64>) -> Option<Verdict> {
    let first = *failures.first()?;
    let established = trace.progress.first().is_some_and(|&(at, _)| at < first);
    if trace.began_us >= first || trace.ended_us < first || !established {
        return None;
    }
    let recoveries: Vec<Recovery> = failures.iter().map(|&failure| recovery(trace, failure)).collect();
    let fate = fate(trace, first, &recoveries);
    let is_lost = !matches!(fate, Fate::Survived { .. } | Fate::Untested);
    Some(Verdict {
        fate,
        wait_us: longest_wait(trace, first),
        after_heal: is_lost
            && healed_us.is_some_and(|healed| trace.ended_us >= healed && answered_within(trace, first, healed)),
    })
}

fn fate(trace: &Trace, first: u64, recoveries: &[Recovery]) -> Fate {
    let after_us = trace.ended_us.saturating_sub(first_send(trace, first).unwrap_or(first));
    if trace.servers.len() > 1 {
        return Fate::Moved;
    }
    // A UDP flow goes on after an error or a loss; what counts is who answers then.
    match trace.failure {
        Some("wrong-server") => return Fate::Moved,
        Some("reset") => return Fate::Reset { after_us },
        Some(cause) if trace.kind != FlowKind::Udp => return Fate::Failed { cause, after_us },
        _ => {}
    }
    let mut longest = None;
    for recovery in recoveries {
        match recovery {
            Recovery::After(us) => longest = longest.max(Some(*us)),
            Recovery::Never => return Fate::Failed { cause: trace.failure.unwrap_or(SILENT), after_us },
            Recovery::Untested => {}
        }
    }
    longest.map_or(Fate::Untested, |recovery_us| Fate::Survived { recovery_us })
}

/// How a flow came through one failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    After(u64),
    Never,
    Untested,
}

/// First progress − max(failure, the flow's first send after it).
///
/// A flow that is owed something when the failure happens may get it before it sends again. That wait counts from the
/// failure; but what came may have been under way already, so the first send after the failure has to be answered
/// too, and the longer of the two counts.
fn recovery(trace: &Trace, failure: u64) -> Recovery {
    let send = first_send(trace, failure);
    let progress = first_progress(trace, failure);
    let came_first = progress.filter(|&at| send.is_none_or(|send| at < send));
    let under_way = came_first.filter(|_| is_owed(trace, failure)).map(|at| at - failure);
    match send {
        Some(send) => match first_progress(trace, send) {
            Some(at) => Recovery::After((at - send).max(under_way.unwrap_or(0))),
            None => Recovery::Never,
        },
        None => match under_way {
            Some(us) => Recovery::After(us),
            None if is_owed(trace, failure) => Recovery::Never,
            None => Recovery::Untested,
        },
    }
}

/// First send at or after an instant. (Sends within a millisecond are one stretch; one that reaches over the instant
/// counts as a send at it.)
fn first_send(trace: &Trace, from: u64) -> Option<u64> {
    first(&trace.sends, from)
}

fn first_progress(trace: &Trace, from: u64) -> Option<u64> {
    first(&trace.progress, from)
}

fn first(stretches: &[(u64, u64)], from: u64) -> Option<u64> {
    let at = stretches.partition_point(|&(_, last)| last < from);
    stretches.get(at).map(|&(first, _)| first.max(from))
}

/// Something was asked for and had not come at that instant. A download is owed until its end.
fn is_owed(trace: &Trace, at: u64) -> bool {
    let last = |stretches: &[(u64, u64)]| stretches.iter().rev().map(|&(first, _)| first).find(|&first| first < at);
    match (last(&trace.sends), last(&trace.progress)) {
        (Some(_), _) if trace.kind == FlowKind::Download => true,
        (Some(sent), Some(came)) => sent > came,
        (sent, _) => sent.is_some(),
    }
}

fn answered_within(trace: &Trace, from: u64, to: u64) -> bool {
    first_progress(trace, from).is_some_and(|at| at < to)
}

/// The longest time after `from` in which the flow was owed something and nothing came.
fn longest_wait(trace: &Trace, from: u64) -> u64 {
    let endless = trace.kind == FlowKind::Download;
    let (mut longest, mut owed_since) = (0, None);
    let (mut sends, mut progress) = (trace.sends.iter().peekable(), trace.progress.iter().peekable());
    loop {
        let sends_first = match (sends.peek(), progress.peek()) {
            (None, None) => break,
            (Some((sent, _)), Some((came, _))) => sent <= came,
            (sent, _) => sent.is_some(),
        };
        if sends_first {
            owed_since.get_or_insert(sends.next().expect("peeked").0);
        } else {
            let &(came, last) = progress.next().expect("peeked");
            if let Some(since) = owed_since.take() {
                longest = longest.max(came.saturating_sub(from.max(since)));
            }
            if endless {
                owed_since = Some(last);
            }
        }
    }
    // What it was still owed when it failed.
    let open = owed_since.filter(|_| trace.failure.is_some());
    longest.max(open.map_or(0, |since: u64| trace.ended_us.saturating_sub(from.max(since))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it shows; kind, sends and progress of the flow; its recovery time in milliseconds.
    type Case = (&'static str, FlowKind, &'static [i64], &'static [i64], Option<u64>);

    const FAILURE: u64 = 1_000_000;

    /// A flow of a kind with sends and progress in milliseconds after the failure (at 1 s); it began at 0 and was
    /// answered at once.
    fn flow(kind: FlowKind, sends: &[i64], progress: &[i64]) -> Trace {
        let stretches = |events: &[i64]| {
            let at = |ms: &i64| (FAILURE as i64 + ms * 1000) as u64;
            std::iter::once((0, 500)).chain(events.iter().map(|ms| (at(ms), at(ms)))).collect()
        };
        Trace {
            kind,
            target: String::new(),
            client: None,
            began_us: 0,
            ended_us: 5_000_000,
            failure: None,
            detail: None,
            servers: vec!["web1/1/aa".into()],
            sends: stretches(sends),
            progress: stretches(progress),
            lost: 0,
            retransmitted: 0,
        }
    }

    fn fate_of(trace: &Trace) -> Fate {
        judge(trace, &[FAILURE], None).expect("open at the failure").fate
    }

    #[test]
    fn recovery_is_first_progress_after_the_failure_or_the_first_send_after_it() {
        use FlowKind::{Download, Idle, Interactive, Keepalive, Udp};
        let cases: [Case; 11] = [
            ("sends after the failure", Interactive, &[-60, 40], &[-50, 52], Some(12)),
            ("an idle flow that speaks 3 s later", Idle, &[3_000], &[3_011], Some(11)),
            ("the first send is lost, sent again", Interactive, &[40, 140], &[250], Some(210)),
            ("owed, and it sends before anything comes", Interactive, &[-5, 95], &[210], Some(115)),
            ("owed, and nothing else is sent first", Keepalive, &[-5, 260], &[205, 271], Some(205)),
            ("what came was under way; what counts is the next", Keepalive, &[-5, 60], &[5, 360], Some(300)),
            ("a datagram is lost, a later one answered", Udp, &[10, 110, 210], &[221], Some(211)),
            ("a download goes on", Download, &[], &[-10, 10, 30], Some(10)),
            ("a download pauses", Download, &[], &[-10, 310], Some(310)),
            ("nothing comes again", Interactive, &[40], &[], None),
            ("a download ends silently", Download, &[], &[-10], None),
        ];
        for (name, kind, sends, progress, expected_ms) in cases {
            let fate = fate_of(&flow(kind, sends, progress));
            match expected_ms {
                Some(ms) => assert_eq!(fate, Fate::Survived { recovery_us: ms * 1000 }, "{name}"),
                None => assert!(matches!(fate, Fate::Failed { cause: SILENT, .. }), "{name}: {fate:?}"),
            }
        }
    }

    #[test]
    fn a_stretch_that_reaches_over_the_failure_counts_from_it() {
        let mut trace = flow(FlowKind::Interactive, &[], &[]);
        trace.sends.push((FAILURE - 400, FAILURE + 300));
        trace.progress.push((FAILURE + 9_000, FAILURE + 9_000));
        assert_eq!(fate_of(&trace), Fate::Survived { recovery_us: 9_000 });
    }

    #[test]
    fn of_several_failures_the_worst_counts_and_all_must_be_survived() {
        let trace = flow(FlowKind::Interactive, &[10, 1_010], &[20, 1_210]);
        let verdict = |failures: &[u64]| judge(&trace, failures, None).expect("open").fate;
        assert_eq!(verdict(&[FAILURE, FAILURE + 1_000_000]), Fate::Survived { recovery_us: 200_000 });
        let trace = flow(FlowKind::Interactive, &[10, 1_010], &[20]);
        let fate = judge(&trace, &[FAILURE, FAILURE + 1_000_000], None).expect("open").fate;
        assert!(matches!(fate, Fate::Failed { .. }), "{fate:?}");
    }

    #[test]
    fn only_the_same_process_in_sequence_is_survival() {
        let survives = flow(FlowKind::Udp, &[10], &[20]);
        let mut moved = survives.clone();
        moved.servers.push("web1/2/bb".into());
        assert_eq!(fate_of(&moved), Fate::Moved, "another process of the same host");
        let mut reset = flow(FlowKind::Keepalive, &[10], &[]);
        (reset.failure, reset.ended_us) = (Some("reset"), FAILURE + 22_000);
        assert_eq!(fate_of(&reset), Fate::Reset { after_us: 12_000 });
        let mut out_of_sequence = flow(FlowKind::Interactive, &[10], &[20]);
        out_of_sequence.failure = Some("bad-sequence");
        assert!(matches!(fate_of(&out_of_sequence), Fate::Failed { cause: "bad-sequence", .. }));
        let mut refused_once = survives.clone();
        refused_once.failure = Some("refused");
        assert_eq!(fate_of(&refused_once), Fate::Survived { recovery_us: 10_000 }, "UDP goes on after an ICMP error");
        assert_eq!(fate_of(&flow(FlowKind::Idle, &[], &[])), Fate::Untested);
    }

    #[test]
    fn flows_that_were_not_open_are_not_judged() {
        let mut late = flow(FlowKind::Http, &[10], &[20]);
        late.began_us = FAILURE;
        assert_eq!(judge(&late, &[FAILURE], None), None);
        let mut over = flow(FlowKind::Http, &[], &[]);
        over.ended_us = FAILURE - 1;
        assert_eq!(judge(&over, &[FAILURE], None), None);
        let mut connecting = flow(FlowKind::Http, &[10], &[20]);
        connecting.progress.remove(0);
        assert_eq!(judge(&connecting, &[FAILURE], None), None, "not established yet: a new flow");
    }

    #[test]
    fn waits_and_the_return_of_what_had_failed() {
        let mut trace = flow(FlowKind::Interactive, &[-50, 10, 110, 900], &[250, 905]);
        assert_eq!(longest_wait(&trace, FAILURE), 250_000, "what was asked before waits from the failure on");
        (trace.failure, trace.ended_us) = (Some("reset"), FAILURE + 1_000_000);
        let verdict = |healed| judge(&trace, &[FAILURE], Some(healed)).expect("open");
        assert!(verdict(FAILURE + 800_000).after_heal);
        assert!(!verdict(FAILURE + 2_000_000).after_heal);
    }
}
