//! Bounds: pins per client prefix, flows in a table, ICMP answers, room before a frame. Each on a router of its own.

use std::os::fd::AsRawFd;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use slr_dataplane::reason::RouterReason as R;
use slr_testkit::packet::Packet;

use crate::case::small_router;
use crate::common::{Bed, outer, site};
use crate::frames::*;

/// What the tests below end by.
pub const REASONS: [R; 4] = [R::FwdRateLimited, R::FwdTableFull, R::DropIcmpLimit, R::DropHeadroom];

/// Open a TCP flow up to where it may be pinned.
fn open(bed: &Bed, client: &str, port: u16, to: &str) -> (R, bool) {
    let first = bed.send(&syn(client, port, to, 80));
    assert_eq!(first.reason, R::FwdNew);
    let second = bed.send(&ack(client, port, to, 80, 0));
    let host = |frame: &[u8]| outer::read(frame, &bed.desired).host;
    (second.reason, host(&first.packet) == host(&second.packet))
}

#[test]
fn a_client_prefix_pins_no_faster_than_it_may_and_its_flows_ride_on_unpinned() {
    // (a client, another of its prefix, one of the next prefix): IPv4 /24, IPv6 /48.
    for (f, near, far) in [(IPV4, "198.51.100.200", "198.51.101.7"), (IPV6, "2001:db8:c:ffff::1", "2001:db8:e::1")] {
        let mut bed = Bed::new(site::site());
        bed.change(|desired| (desired.config.promote_per_s, desired.config.promote_burst) = (0, 3));
        for port in 1..=3 {
            let client = if port == 2 { near } else { f.client };
            assert_eq!(open(&bed, client, port, f.any), (R::FwdPromoted, true), "{}: flow {port}", f.name);
        }
        assert_eq!(open(&bed, f.client, 4, f.any), (R::FwdRateLimited, true), "{}", f.name);
        assert_eq!(open(&bed, near, 5, f.any), (R::FwdRateLimited, true), "{}", f.name);
        assert_eq!(bed.send(&ack(f.client, 4, f.any, 80, 1)).reason, R::FwdRateLimited, "{}: again", f.name);
        assert_eq!(bed.send(&ack(f.client, 1, f.any, 80, 1)).reason, R::FwdEstablished, "{}: pinned before", f.name);
        assert_eq!(open(&bed, far, 6, f.any), (R::FwdPromoted, true), "{}: another prefix", f.name);
        bed.change(|desired| desired.config.promote_per_s = 1_000_000);
        slr_testkit::eventually(std::time::Duration::from_secs(5), "the budget to refill", || {
            bed.send(&ack(f.client, 4, f.any, 80, 2)).reason == R::FwdPromoted
        });
    }
}

#[test]
fn a_burst_of_none_pins_nothing() {
    for f in FAMILIES {
        let mut bed = Bed::new(site::site());
        bed.change(|desired| (desired.config.promote_per_s, desired.config.promote_burst) = (1_000_000, 0));
        for port in 1..=3 {
            assert_eq!(open(&bed, f.client, port, f.any), (R::FwdRateLimited, true), "{}", f.name);
        }
    }
}

#[test]
fn a_full_table_refuses_new_pins_and_forgets_none() {
    const CAPACITY: u16 = 4;
    for f in FAMILIES {
        let bed = Bed::around(small_router(CAPACITY.into()), site::site());
        for port in 1..=CAPACITY {
            assert_eq!(open(&bed, f.client, port, f.any), (R::FwdPromoted, true), "{}: flow {port}", f.name);
        }
        for port in CAPACITY + 1..=3 * CAPACITY {
            assert_eq!(open(&bed, f.client, port, f.any), (R::FwdTableFull, true), "{}: flow {port}", f.name);
            assert_eq!(bed.send(&ack(f.client, port, f.any, 80, 1)).reason, R::FwdTableFull, "{}: rides on", f.name);
        }
        for port in 1..=CAPACITY {
            assert_eq!(bed.send(&ack(f.client, port, f.any, 80, 1)).reason, R::FwdEstablished, "{}: {port}", f.name);
        }
        let count = bed.router.flow_count().expect("flows can be counted");
        assert_eq!(count.pinned_v4 + count.pinned_v6, u64::from(CAPACITY), "{}: {count:?}", f.name);
    }
}

/// The budget of answers is one for each CPU.
fn stay_on_one_cpu() {
    let mut one = CpuSet::new();
    one.set(0).expect("there is a CPU 0");
    sched_setaffinity(Pid::from_raw(0), &one).expect("CPU 0 can be used");
}

#[test]
fn answers_are_limited_and_the_rest_drops_by_name() {
    stay_on_one_cpu();
    for f in FAMILIES {
        let requests: [(R, Vec<u8>); 2] = [
            (R::ReplyEcho, from(f.client, f.any).echo_request(1, 1).payload_len(56).build()),
            (R::ReplyTooBig, oversized(&f).build()),
        ];
        for (answer, request) in requests {
            let mut bed = Bed::new(site::site());
            bed.change(|desired| (desired.config.icmp_per_s, desired.config.icmp_burst) = (1, 3));
            let reasons: Vec<R> = (0..6).map(|_| bed.send(&request).reason).collect();
            // A second may pass meanwhile on a busy machine: the fourth or a later one may be answered then.
            assert_eq!(reasons[..3], [answer; 3], "{}", f.name);
            assert!(reasons[3..].contains(&R::DropIcmpLimit), "{}: {reasons:?}", f.name);
            bed.change(|desired| desired.config.icmp_per_s = 1_000_000);
            slr_testkit::eventually(std::time::Duration::from_secs(5), "the budget to refill", || {
                bed.send(&request).reason == answer
            });
        }
    }
}

fn oversized(f: &Family) -> Packet {
    let start = from(f.client, f.on_a);
    let start = if f.v6 { start } else { start.df() };
    start.udp(1, 2).payload_len(1480)
}

/// A run with metadata before the packet, which takes the room that a driver would have to leave.
#[expect(unsafe_code, reason = "the library's test run has no context; only this test needs one")]
fn run_with_metadata(bed: &Bed, frame: &[u8], metadata: usize) -> u32 {
    let input = [vec![0; metadata], frame.to_vec()].concat();
    let len = u32::try_from(input.len()).expect("short");
    let mut out = vec![0u8; input.len() + 512];
    // SAFETY: both are plain C structs, for which all zeros is a value.
    let (mut options, mut context): (libbpf_sys::bpf_test_run_opts, libbpf_sys::xdp_md) = unsafe { std::mem::zeroed() };
    context.data = u32::try_from(metadata).expect("short");
    context.data_end = len;
    options.sz = size_of_val(&options) as u64;
    options.data_in = input.as_ptr().cast();
    options.data_size_in = len;
    options.data_out = out.as_mut_ptr().cast();
    options.data_size_out = u32::try_from(out.len()).expect("short");
    options.ctx_in = (&raw const context).cast();
    options.ctx_size_in = u32::try_from(size_of_val(&context)).expect("short");
    options.repeat = 1;
    // SAFETY: the buffers are as long as the options say and live through the call.
    let err = unsafe { libbpf_sys::bpf_prog_test_run_opts(bed.router.program().as_raw_fd(), &mut options) };
    assert_eq!(err, 0, "{}", std::io::Error::last_os_error());
    options.retval
}

#[test]
fn without_room_before_the_frame_it_drops_by_name() {
    const XDP_DROP: u32 = 1;
    const XDP_TX: u32 = 3;
    for f in FAMILIES {
        for vaddr in [f.on_a, f.on_v] {
            let bed = Bed::new(site::site());
            let headroom_drops = || {
                let counters = bed.router.reasons().expect("counters can be read");
                counters.iter().find(|(reason, _)| *reason == R::DropHeadroom).expect("a reason").1.packets
            };
            let frame = syn(f.client, 40000, vaddr, 80);
            assert_eq!(run_with_metadata(&bed, &frame, 32), XDP_TX, "{} {vaddr}: room enough", f.name);
            assert_eq!(headroom_drops(), 0);
            assert_eq!(run_with_metadata(&bed, &frame, 216), XDP_DROP, "{} {vaddr}: no room", f.name);
            assert_eq!(headroom_drops(), 1);
        }
    }
}
