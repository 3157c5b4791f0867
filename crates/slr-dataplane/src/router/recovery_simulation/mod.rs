//! Recovery over networks that lose, delay and break, with routers that forget, hosts that die and rings that move: thousands of
//! schedules in virtual time, each from a seed. What decides is the daemons' own: [`super::claims::put`], [`super::mirror::put`],
//! [`slr_session::mirror`], [`slr_session::search`]; the XDP programs' part is played by [`router`] and [`world`].
//!
//! The invariant: when all messages have arrived, no router has a flow pinned to a host that does not own it while its owner lives.
//!
//! A failure prints its seed. `SLR_SEED=SEED` runs that one alone, `SLR_SCHEDULES=N` another number of them.

mod router;
mod tally;
mod world;

use tally::Tally;
use world::World;

/// As many as the acceptance of the recovery asks for.
const SCHEDULES: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn no_flow_ends_pinned_to_a_host_that_does_not_own_it() {
    if let Some(seed) = number("SLR_SEED") {
        println!("{:#?}", World::new(seed, true).run());
        return;
    }
    let schedules = number("SLR_SCHEDULES").unwrap_or(SCHEDULES);
    let next = std::sync::atomic::AtomicU64::new(0);
    let (tally, failed) = (std::sync::Mutex::new(Tally::default()), std::sync::Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= schedules {
                        return;
                    }
                    match std::panic::catch_unwind(|| World::new(seed, false).run()) {
                        Ok(done) => tally.lock().expect("no one panics holding it").add(&done),
                        Err(_) => {
                            failed.lock().expect("no one panics holding it").push(seed);
                            next.store(schedules, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no one panics holding it");
    assert!(failed.is_empty(), "seeds that failed: {failed:?}; SLR_SEED=SEED runs one of them");
    let tally = tally.into_inner().expect("no one panics holding it");
    println!("{schedules} schedules: {tally:#?}");
    let Tally { delivered, chained, ended, claimed, found, nobody, mirrored, reused, .. } = tally;
    for (what, count) in [
        ("packets delivered", delivered),
        ("orphans that a host of their slot had", chained),
        ("chains that ended at a router which knew the flow", ended),
        ("claims pinned", claimed),
        ("flows found by asking", found),
        ("flows that nobody has", nobody),
        ("flows mirrored", mirrored),
        ("ports used again", reused),
    ] {
        assert!(count > schedules / 50, "hardly ever: {what}: {count} in {schedules} schedules");
    }
}
