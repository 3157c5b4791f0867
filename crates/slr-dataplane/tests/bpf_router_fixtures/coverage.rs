//! The table is whole: every reason has a case, or stands here with why none can reach it.

use std::collections::BTreeSet;

use slr_dataplane::reason::RouterReason as R;

use crate::{
    adverts, chains, ends, flows, fragments, headers, hosts, icmp, limits, malformed, mtu, routes, truncated, tunnels,
};

/// Reasons without a case.
const UNREACHED: [(R, &str); 1] =
    [(R::Unset, "a bug in the program: no packet may end by it, every case checks that none does")];

#[test]
fn every_reason_has_a_case_or_an_excuse() {
    let tables = [
        flows::cases(),
        fragments::cases(),
        headers::cases(),
        hosts::cases(),
        icmp::cases(),
        malformed::cases(),
        mtu::cases(),
        routes::cases(),
        tunnels::cases(),
    ];
    let mut reached: BTreeSet<R> = tables.iter().flatten().flat_map(|case| case.reasons()).collect();
    reached.extend(adverts::REASONS);
    reached.extend(chains::REASONS);
    reached.extend(ends::REASONS);
    reached.extend(limits::REASONS);
    reached.extend(truncated::REASONS);
    let excused: BTreeSet<R> = UNREACHED.iter().map(|(reason, _)| *reason).collect();
    let missing: Vec<_> = R::ALL.iter().filter(|r| !reached.contains(r) && !excused.contains(r)).collect();
    assert!(missing.is_empty(), "reasons without a case: {missing:?}");
    let needless: Vec<_> = excused.intersection(&reached).collect();
    assert!(needless.is_empty(), "excused, but reached: {needless:?}");
}
