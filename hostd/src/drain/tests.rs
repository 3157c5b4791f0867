//! Every phase from every other, and what may never be claimed.

use super::*;

const SETTLE: Duration = Duration::from_millis(1_500);

/// `c` connected, `h` connected and has heard, `-` not connected.
fn parents(letters: &str) -> Vec<Hearing> {
    let hearing = |(n, letter): (usize, char)| Hearing {
        parent: format!("slr{n}").parse().unwrap(),
        is_connected: letter != '-',
        has_heard: letter == 'h',
    };
    letters.chars().enumerate().map(hearing).collect()
}

#[test]
fn the_phases_follow_what_parents_know_and_what_is_counted() {
    let start = Instant::now();
    let mut drain = Drain::default();
    let table = [
        // (ms, parents, a count at that moment, phase)
        (0, "cc", None, Phase::Serving),
        (10, "cc", Some(0), Phase::Telling),
        (20, "hc", Some(0), Phase::Telling),
        (30, "hh", Some(0), Phase::Settling),
        (1_000, "hh", Some(0), Phase::Settling),
        (1_529, "hh", Some(0), Phase::Settling),
        (1_531, "hh", None, Phase::Settling),
        (1_532, "hh", Some(2), Phase::Waiting),
        (1_600, "hh", Some(0), Phase::Safe),
        (1_700, "hh", Some(1), Phase::Waiting),
        (1_800, "hh", Some(0), Phase::Safe),
        (1_900, "h-", Some(0), Phase::Safe),
        (2_000, "hc", Some(0), Phase::Telling),
        (2_100, "hh", Some(0), Phase::Settling),
        (3_600, "hh", Some(0), Phase::Safe),
        (3_700, "--", Some(0), Phase::Unheard),
        (3_800, "h-", Some(0), Phase::Settling),
    ];
    for (ms, letters, flows, expected) in table {
        let now = start + Duration::from_millis(ms);
        if ms == 10 {
            drain.begin(Cause::Operator);
        }
        if let Some(flows) = flows {
            drain.count(flows, now);
        }
        assert_eq!(drain.phase(&parents(letters), SETTLE, now), expected, "after {ms} ms");
    }
    drain.end();
    assert_eq!(drain.phase(&parents("hh"), SETTLE, start + Duration::from_secs(9)), Phase::Serving);
}

proptest::proptest! {
    /// Safe is claimed only if every connected parent has heard, a settle time ago, and a later count found nothing.
    #[test]
    fn safe_means_safe(steps: Vec<(u16, [u8; 2], Option<bool>)>) {
        let start = Instant::now();
        let mut drain = Drain::resumed(Some(Cause::Operator));
        let (mut now, mut heard_since, mut last) = (start, None, None);
        for (ms, letters, flows) in steps {
            now += Duration::from_millis(ms.into());
            let letters: String = letters.map(|letter| ['-', 'c', 'h'][usize::from(letter % 3)]).iter().collect();
            let all_heard = letters.contains('h') && !letters.contains('c');
            heard_since = if all_heard { heard_since.or(Some(now)) } else { None };
            if let Some(some) = flows {
                drain.count(some.into(), now);
                last = Some((some, now));
            }
            let phase = drain.phase(&parents(&letters), SETTLE, now);
            let safe = heard_since.is_some_and(|since| last.is_some_and(|(some, at)| !some && at >= since + SETTLE));
            proptest::prop_assert_eq!(phase == Phase::Safe, safe);
        }
    }
}
