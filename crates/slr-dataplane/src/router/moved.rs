//! What a change moves: slots of a route whose new flows go to another host than before. Pure.

use std::collections::{BTreeMap, BTreeSet};

use slr_model::{ClassName, ServiceKey};

use super::rings::RouteId;

/// A route of which a change moved some slots, or would.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    /// Its service; `None` in it: whatever no route names.
    pub service: ServiceKey,
    /// Its class of clients; `None`: those whose class has no route of its own.
    pub class: Option<ClassName>,
    /// Slots that point to another host, or to none any more. New flows of this share go elsewhere.
    pub moved: u32,
    /// All slots of the route's ring; if nobody is left in it, of the ring before.
    pub slots: u32,
}

/// Which ring decides for which route. `R` stands for a ring's content: equal values are equal rings.
#[derive(Debug)]
pub struct Routes<R> {
    pub rings: BTreeMap<RouteId, R>,
    /// Subnets that serve only what a route names.
    pub listed_only: BTreeSet<u16>,
}

impl<R: Copy + Ord> Routes<R> {
    /// The ring that decides for packets of this class and service, whether the route is there or another takes its
    /// place. `None`: nobody serves them.
    fn deciding(&self, route: RouteId) -> Option<R> {
        route.fallbacks(self.listed_only.contains(&route.subnet)).find_map(|id| self.rings.get(&id)).copied()
    }
}

/// Routes that are there before or after a change, and point elsewhere after it: (route, moved, of how many). A route
/// that is new is compared with what decided for its packets before, one that is gone with what decides for them now;
/// what nobody served before, or is not served any more, did not move. `slots` reads a ring's current hops.
pub fn compare<A: Copy + Ord, B: Copy + Ord>(
    before: &Routes<A>,
    after: &Routes<B>,
    slots_before: impl Fn(A) -> Vec<u16>,
    slots_after: impl Fn(B) -> Vec<u16>,
) -> Vec<(RouteId, u32, u32)> {
    let routes: BTreeSet<RouteId> = before.rings.keys().chain(after.rings.keys()).copied().collect();
    // Many routes share few rings.
    let mut counted: BTreeMap<(A, B), (u32, u32)> = BTreeMap::new();
    let mut found = Vec::new();
    for route in routes {
        let (Some(old), Some(new)) = (before.deciding(route), after.deciding(route)) else { continue };
        let (moved, slots) = *counted.entry((old, new)).or_insert_with(|| count(&slots_before(old), &slots_after(new)));
        if moved > 0 {
            found.push((route, moved, slots));
        }
    }
    found
}

/// Slots of the new ring that point elsewhere than the old ring at the same hash, and how many there are. A ring that
/// begins moves nothing: nobody was served.
fn count(old: &[u16], new: &[u16]) -> (u32, u32) {
    let len = |slots: &[u16]| u32::try_from(slots.len()).expect("a ring is bounded");
    if old.is_empty() {
        return (0, len(new));
    }
    if new.is_empty() {
        return (len(old), len(old));
    }
    let middle = |slot: usize| (2 * slot + 1) * old.len() / (2 * new.len());
    let moved = new.iter().enumerate().filter(|(slot, hop)| old[middle(*slot)] != **hop).count();
    (u32::try_from(moved).expect("a ring is bounded"), len(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_compared_at_the_same_hash() {
        for (old, new, expected) in [
            (&[][..], &[1, 1][..], (0, 2)),
            (&[1, 2], &[], (2, 2)),
            (&[], &[], (0, 0)),
            (&[1, 2, 1, 2], &[1, 2, 1, 2], (0, 4)),
            (&[1, 2, 1, 2], &[1, 2, 2, 1], (2, 4)),
            // Twice as fine: each half of a slot is compared with the whole.
            (&[1, 2], &[1, 1, 2, 3], (1, 4)),
            (&[1, 1, 2, 2], &[1, 2], (0, 2)),
            (&[1, 2, 3], &[2], (0, 1)),
        ] {
            assert_eq!(count(old, new), expected, "{old:?} to {new:?}");
        }
    }

    fn route(class: u16, service: Option<&str>) -> RouteId {
        RouteId { subnet: 1, class, service: service.map(|text| text.parse().unwrap()) }
    }

    fn routes(of: &[(RouteId, u32)], listed_only: bool) -> Routes<u32> {
        Routes { rings: of.iter().copied().collect(), listed_only: listed_only.then_some(1).into_iter().collect() }
    }

    /// Ring n: four slots, all of them to hop n.
    fn slots(ring: u32) -> Vec<u16> {
        vec![u16::try_from(ring).unwrap(); 4]
    }

    #[test]
    fn a_route_is_compared_with_what_decided_before() {
        let (any, http, class) = (route(0, None), route(0, Some("tcp/80")), route(5, None));
        let compare = |before: &[_], after: &[_], listed_only| {
            compare(&routes(before, listed_only), &routes(after, listed_only), slots, slots)
        };
        // Its own ring changes, and that of a route that shared it does not.
        assert_eq!(compare(&[(any, 1), (http, 1)], &[(any, 1), (http, 2)], false), [(http, 4, 4)]);
        // A new route takes over from what decided so far; with the same hosts nothing moves.
        assert_eq!(compare(&[(any, 1)], &[(any, 1), (http, 2)], false), [(http, 4, 4)]);
        assert_eq!(compare(&[(any, 1)], &[(any, 1), (http, 1), (class, 1)], false), []);
        // A route that goes leaves its packets to the next.
        assert_eq!(compare(&[(any, 1), (class, 2)], &[(any, 1)], false), [(class, 4, 4)]);
        // What was not served, or is not any more, does not move.
        assert_eq!(compare(&[(any, 1)], &[(any, 1), (http, 2)], true), []);
        assert_eq!(compare(&[(any, 1), (http, 2)], &[(any, 1)], true), []);
        assert_eq!(compare(&[], &[(any, 1), (http, 2)], false), []);
    }
}
