//! The desired state changes while packets come in: what a change is not about does not notice it.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use slr_dataplane::host::HostDesired;
use slr_dataplane::reason::HostReason::*;
use slr_dataplane::sys;

use crate::bed::*;

/// Enough router prefixes that they are looked up and not scanned; the change goes from one to the other and back.
fn many() -> HostDesired {
    let mut many = desired();
    many.routers.extend(
        (0..20)
            .flat_map(|n| [format!("10.7.{n}.0/24"), format!("fd07:{n:x}::/32")])
            .map(|net| net.parse::<ipnet::IpNet>().unwrap()),
    );
    many.site_hosts.extend((0..20).map(|n| format!("10.1.50.{n}").parse::<std::net::IpAddr>().unwrap()));
    many
}

#[test]
fn a_router_prefix_or_a_host_comes_and_goes_without_the_others_noticing() {
    const XDP_PASS: u32 = 2;
    const ROUNDS: u32 = 300;
    let tunnelled = |source: &str, us: &str, client: &str, to: &str| {
        ip(ip(frame(), source, us), client, to).tcp(40000, 80).payload_len(60).build()
    };
    let steady = [
        tunnelled(ROUTER4, US4, C4, V4),
        tunnelled(ROUTER6, US6, C6, V6),
        tunnelled(OTHER4, US4, C4, V4),
        tunnelled(OTHER6, US6, C6, V6),
    ];
    let guests =
        [("10.99.0.9", US4, C4, V4), ("fd99::9", US6, C6, V6), ("10.98.0.9", US4, C4, V4), ("fd98::9", US6, C6, V6)];
    let (plain, many) = (desired(), many());
    let mut with_guests = plain.clone();
    with_guests.routers.extend(["10.99.0.0/24", "fd99::/64"].map(|net| net.parse::<ipnet::IpNet>().unwrap()));
    with_guests.site_hosts.extend(["10.98.0.9", "fd98::9"].map(|host| host.parse::<std::net::IpAddr>().unwrap()));

    let mut bed = Bed::with(&plain);
    let program = bed.host.program().try_clone_to_owned().unwrap();
    let (done, runs) = (AtomicBool::new(false), AtomicU64::new(0));
    let lost = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let (mut out, mut lost) = (Vec::new(), 0);
            while !done.load(Ordering::Relaxed) {
                for packet in &steady {
                    let (verdict, _) = sys::test_run(program.as_fd(), packet, &mut out).unwrap();
                    lost += u64::from(verdict != XDP_PASS || out.len() >= packet.len());
                    runs.fetch_add(1, Ordering::Relaxed);
                }
            }
            lost
        });
        for _ in 0..ROUNDS {
            for next in [&with_guests, &many, &with_guests, &plain] {
                bed.host.apply(next).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    let runs = runs.load(Ordering::Relaxed);
    assert_eq!(lost, 0, "of {runs} packets during {} changes", 4 * ROUNDS);
    assert!(runs > u64::from(ROUNDS), "traffic went on meanwhile: {runs}");

    // And the change itself holds for the next packet.
    let mut bed = Bed::with(&plain);
    let guest = |bed: &Bed| guests.map(|(source, us, client, to)| bed.send(&tunnelled(source, us, client, to)).0);
    assert_eq!(guest(&bed), [DropStranger; 4]);
    bed.host.apply(&with_guests).unwrap();
    assert_eq!(guest(&bed), [Deliver; 4]);
    bed.host.apply(&many).unwrap();
    assert_eq!(guest(&bed), [DropStranger; 4]);
    bed.host.apply(&plain).unwrap();
    assert_eq!(guest(&bed), [DropStranger; 4]);
}
