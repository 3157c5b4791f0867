//! Programs that benchmarks compare with, and the calls that time and load programs. `tools/bench` uses this; nothing that
//! carries traffic does.
//!
//! [`Yardsticks`] holds the null program (the zero that is subtracted) and the floor (one exact-match lookup and the same
//! outer header: what ratios divide by). [`single_shots`] times any program one packet at a time; repeating inside the
//! kernel would feed each run the packet that the last one changed. [`Load`] makes real traffic through a veth pair, and
//! [`mapped_words`] is a place to publish rings to that nobody reads.

#![expect(unsafe_code, reason = "BPF_PROG_TEST_RUN takes pointers, and table types promise to be plain bytes")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::abi::{Pod, counter, flow_key_v4, flow_key_v6};
use crate::object::{LoadError, Loaded, Spec};
use crate::sys::MappedWords;
use crate::table::{MapError, PerCpu, Table};

/// The generated skeleton; only its types are used.
#[allow(unsafe_code, missing_docs, dead_code, clippy::all, clippy::pedantic, non_camel_case_types)]
mod floor_skeleton {
    include!(concat!(env!("OUT_DIR"), "/floor.skel.rs"));
}

/// The generated skeleton; only its types are used.
#[allow(unsafe_code, missing_docs, dead_code, clippy::all, clippy::pedantic, non_camel_case_types)]
mod load_skeleton {
    include!(concat!(env!("OUT_DIR"), "/load.skel.rs"));
}

mod pinned;

pub use floor_skeleton::types::{floor_value, floor_value_v6};
pub use load_skeleton::types::{load_flows, load_settings};
pub use pinned::Pinned;

// SAFETY: integers only, all of 32 bits: nothing is padded.
unsafe impl Pod for floor_value {}
// SAFETY: integers only, all of 32 bits: nothing is padded.
unsafe impl Pod for floor_value_v6 {}

// SAFETY: integers only, each at a multiple of its size, and the struct's size is the sum of theirs.
unsafe impl Pod for load_settings {}
// SAFETY: as above.
unsafe impl Pod for load_flows {}

const LOAD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/load.bpf.o"));
const PASS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pass.bpf.o"));
const FLOOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floor.bpf.o"));

/// The programs of `bpf/pass.bpf.c` and `bpf/floor.bpf.c`, loaded.
pub struct Yardsticks {
    pass: Loaded,
    floor: Loaded,
    flows_v4: Table<flow_key_v4, floor_value>,
    flows_v6: Table<flow_key_v6, floor_value_v6>,
}

/// Null programs that nobody runs. The kernel puts programs side by side in pages that many share, where the first gap is: what is loaded after
/// some of these is placed elsewhere.
pub struct Fillers(#[expect(dead_code, reason = "loaded for as long as this lives")] Vec<Loaded>);

impl Fillers {
    /// So many.
    pub fn load(count: u32) -> Result<Self, LoadError> {
        let load = |_| Loaded::load(&Spec { name: "filler", bytes: PASS, capacities: &[], pins: None });
        Ok(Self((0..count).map(load).collect::<Result<_, _>>()?))
    }
}

impl Yardsticks {
    /// Load them, the floor with room for so many flows of each family.
    pub fn load(flows_per_family: u32) -> Result<Self, LoadError> {
        let pass = Loaded::load(&Spec { name: "null program", bytes: PASS, capacities: &[], pins: None })?;
        let floor = Loaded::load(&Spec {
            name: "floor program",
            bytes: FLOOR,
            capacities: &[("floor_flows", flows_per_family), ("floor_flows_v6", flows_per_family)],
            pins: None,
        })?;
        let flows_v4 = Table::open(&floor, "floor_flows")?;
        let flows_v6 = Table::open(&floor, "floor_flows_v6")?;
        Ok(Self { pass, floor, flows_v4, flows_v6 })
    }

    /// The null program: XDP_PASS and nothing else.
    pub fn null(&self) -> BorrowedFd<'_> {
        self.pass.program("slr_pass").expect("the object has one program")
    }

    /// IPv4 in IPv4.
    pub fn floor_v4(&self) -> BorrowedFd<'_> {
        self.floor.program("slr_floor").expect("the object has this program")
    }

    /// IPv6 in IPv6.
    pub fn floor_v6(&self) -> BorrowedFd<'_> {
        self.floor.program("slr_floor_v6").expect("the object has this program")
    }

    /// Teach the floor an IPv4 flow: the outer addresses, as they go on the wire.
    pub fn add_v4(&self, key: &flow_key_v4, src: [u8; 4], dst: [u8; 4]) -> Result<(), MapError> {
        let constant = [[0x45, 0], [0x40, 0], [64, libc::IPPROTO_IPIP as u8]];
        let words =
            constant.into_iter().chain([[src[0], src[1]], [src[2], src[3]], [dst[0], dst[1]], [dst[2], dst[3]]]);
        let value = floor_value {
            src: u32::from_ne_bytes(src),
            dst: u32::from_ne_bytes(dst),
            csum: words.map(|word| u32::from(u16::from_ne_bytes(word))).sum(),
            pad: 0,
        };
        self.flows_v4.put(key, &value)
    }

    /// Teach the floor an IPv6 flow: the outer header's first word and addresses, as they go on the wire.
    pub fn add_v6(&self, key: &flow_key_v6, first: [u8; 4], src: [u8; 16], dst: [u8; 16]) -> Result<(), MapError> {
        let words = |bytes: [u8; 16]| {
            std::array::from_fn(|i| u32::from_ne_bytes(bytes[i * 4..][..4].try_into().expect("four bytes")))
        };
        let value = floor_value_v6 { src: words(src), dst: words(dst), first: u32::from_ne_bytes(first) };
        self.flows_v6.put(key, &value)
    }
}

/// What one shot returned that it should not have.
#[derive(Debug, thiserror::Error)]
pub enum ShotError {
    /// The kernel refused to run the program.
    #[error("BPF_PROG_TEST_RUN: {0}")]
    Kernel(#[from] io::Error),
    /// Another verdict: another path than the one to be timed.
    #[error("shot {shot} ended with XDP verdict {verdict} instead of {expected}")]
    Verdict {
        /// Which.
        shot: usize,
        /// What the program returned.
        verdict: u32,
        /// What it should have.
        expected: u32,
    },
}

/// Run `program` over `packet` once per element of `durations_ns`, which gets the nanoseconds that the kernel measured;
/// `next` may change the packet before each shot. The figures carry the cost of the kernel's clock: subtract those of the
/// null program. Nothing is copied out, so the call's own footprint in the caches stays small.
pub fn single_shots(
    program: BorrowedFd<'_>,
    packet: &mut [u8],
    expected: u32,
    durations_ns: &mut [u32],
    mut next: impl FnMut(&mut [u8]),
) -> Result<(), ShotError> {
    let size = u32::try_from(packet.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    for (shot, duration_ns) in durations_ns.iter_mut().enumerate() {
        next(packet);
        // SAFETY: an all-zero options struct is valid; `sz` says how much of it there is.
        let mut options: libbpf_sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of_val(&options) as u64;
        options.data_in = packet.as_ptr().cast();
        options.data_size_in = size;
        options.repeat = 1;
        // SAFETY: the packet is as long as the options say and outlives the call; there is no output buffer.
        let ret = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) };
        if ret < 0 {
            return Err(io::Error::from_raw_os_error(-ret).into());
        }
        if options.retval != expected {
            return Err(ShotError::Verdict { shot, verdict: options.retval, expected });
        }
        *duration_ns = options.duration;
    }
    Ok(())
}

/// The programs of `bpf/load.bpf.c`, loaded: traffic into a veth pair, and a count of what comes back.
pub struct Load {
    loaded: Loaded,
    settings: Table<u32, load_settings>,
    flows: Table<u32, load_flows>,
    sunk: PerCpu<counter>,
}

const FLOW_GENERATOR: &str = "slr_generate_flows";
const REPEATER: &str = "slr_repeat";
/// Frames that the kernel keeps in flight at once: what NAPI takes in one turn.
const LIVE_BATCH: u32 = 64;

impl Load {
    /// Load them.
    pub fn new() -> Result<Self, LoadError> {
        let loaded = Loaded::load(&Spec { name: "load program", bytes: LOAD, capacities: &[], pins: None })?;
        let settings = Table::open(&loaded, "load_config")?;
        let flows = Table::open(&loaded, "load_flows_config")?;
        let sunk = PerCpu::open(&loaded, "load_sunk")?;
        Ok(Self { loaded, settings, flows, sunk })
    }

    /// Where the frames go and which flows they are of.
    pub fn configure(&self, settings: &load_settings) -> Result<(), MapError> {
        self.settings.put(&0, settings)
    }

    /// Sends back what it gets: the zero of throughput.
    pub fn reflector(&self) -> BorrowedFd<'_> {
        self.loaded.program("slr_reflect").expect("the object has this program")
    }

    /// The program behind [`Load::send_flows`]. While it is attached anywhere, a call costs microseconds: otherwise the kernel
    /// patches it into its table of direct calls and out again each time, and waits milliseconds for all CPUs to notice.
    pub fn flow_generator(&self) -> BorrowedFd<'_> {
        self.loaded.program(FLOW_GENERATOR).expect("the object has this program")
    }

    /// The program behind [`Load::repeat`], to be attached likewise.
    pub fn repeater(&self) -> BorrowedFd<'_> {
        self.loaded.program(REPEATER).expect("the object has this program")
    }

    /// Counts frames and drops them.
    pub fn sink(&self) -> BorrowedFd<'_> {
        self.loaded.program("slr_sink").expect("the object has this program")
    }

    /// Frames that the sink has seen so far: with a tunnel header, and without.
    pub fn sunk(&self) -> Result<(u64, u64), MapError> {
        let sum = |index| Ok(self.sunk.get(index)?.iter().map(|c| c.packets).sum());
        Ok((sum(0)?, sum(1)?))
    }

    /// Send `frames` copies of a packet through the generator, as real frames, from this thread's CPU and in its network
    /// namespace. Returns when all are sent; a signal ends it early with [`io::ErrorKind::Interrupted`].
    pub fn send(&self, packet: &[u8], frames: u32) -> io::Result<()> {
        self.send_by("slr_generate", packet, frames)
    }

    /// Likewise, one frame each of flows in a row, from `flows.next` on.
    pub fn send_flows(&self, flows: &load_flows, packet: &[u8], frames: u32) -> io::Result<()> {
        self.flows.put(&0, flows).map_err(io::Error::other)?;
        self.send_by(FLOW_GENERATOR, packet, frames)
    }

    /// Likewise, the same packet again and again, to the interface of [`Load::configure`].
    pub fn repeat(&self, packet: &[u8], frames: u32) -> io::Result<()> {
        self.send_by(REPEATER, packet, frames)
    }

    fn send_by(&self, generator: &str, packet: &[u8], frames: u32) -> io::Result<()> {
        let generator = self.loaded.program(generator).expect("the object has this program");
        // SAFETY: an all-zero options struct is valid; `sz` says how much of it there is.
        let mut options: libbpf_sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of_val(&options) as u64;
        options.data_in = packet.as_ptr().cast();
        options.data_size_in = u32::try_from(packet.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        options.repeat = i32::try_from(frames).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        options.flags = libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES;
        options.batch_size = LIVE_BATCH;
        // SAFETY: the packet is as long as the options say and outlives the call; live frames have no output.
        let ret = unsafe { libbpf_sys::bpf_prog_test_run_opts(generator.as_raw_fd(), &mut options) };
        if ret < 0 { Err(io::Error::from_raw_os_error(-ret)) } else { Ok(()) }
    }
}

/// A mapped array like the router's `slots`, of its own: publishing to it costs what publishing costs.
pub fn mapped_words(words: u32) -> io::Result<MappedWords> {
    // SAFETY: an all-zero options struct is valid; `sz` says how much of it there is.
    let mut options: libbpf_sys::bpf_map_create_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options) as u64;
    options.map_flags = libbpf_sys::BPF_F_MMAPABLE;
    // SAFETY: a C string, and options that outlive the call.
    let fd = unsafe {
        libbpf_sys::bpf_map_create(libbpf_sys::BPF_MAP_TYPE_ARRAY, c"bench_slots".as_ptr(), 4, 8, words, &options)
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel has just given us this descriptor; the mapping keeps the map when it is closed.
    let map = unsafe { OwnedFd::from_raw_fd(fd) };
    MappedWords::new(map.as_fd(), words as usize)
}
