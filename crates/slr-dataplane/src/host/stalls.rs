//! Flows that have stalled: their client owes something, and nothing comes. `bpf/host_sweep.h` says when; here its sweeps are run,
//! and slept between while no flow speaks.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::MapHandle;
use slr_model::FlowKey;

use super::Host;
use super::abi::{slr_host_const, stall};
use super::claims::flow_of;
use crate::abi::Pod;
use crate::records::Records;
use crate::sys;
use crate::table::{MapError, Table};

/// Read at once from a sweep: the kernel fills at most so much before it is read (its own buffer is eight pages).
const READ_BYTES: usize = 1 << 15;
/// The tables that are swept, the programs that do it, and at which sweeps: all of a table of UDP flows is walked over, whether they speak
/// or not, and their clients have more time anyway.
const SWEEPS: [(&str, &str, u64); 2] = [("slr_sweep_tcp", "watched", 1), ("slr_sweep_udp", "udp_talks", 5)];

/// What has stalled in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StallKind {
    /// TCP: what the server has sent is not acknowledged.
    Sending,
    /// TCP: what the client was sending does not go on.
    Receiving,
    /// UDP: the server sends and the client is not heard.
    Datagrams,
}

/// What a segment is made of that draws an acknowledgement from the client at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpState {
    /// The first number that the client has not acknowledged.
    pub snd_una: u32,
    /// The next one that is expected of it.
    pub rcv_nxt: u32,
    /// RFC 7323: the server's time stamp and the client's last one, if they use them.
    pub timestamps: Option<(u32, u32)>,
}

/// A stalled flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which.
    pub flow: FlowKey,
    /// How.
    pub kind: StallKind,
    /// For how long nothing has come.
    pub quiet: Duration,
    /// The stack's smoothed round trip; zero if it has none.
    pub srtt: Duration,
    /// Of TCP.
    pub tcp: TcpState,
}

/// What a sweep has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that have stalled since the last one, or a second ago and still do.
    pub stalled: Vec<Stall>,
    /// Flows that had stalled and whose client was heard again.
    pub over: Vec<FlowKey>,
    /// How many flows speak.
    pub watched: usize,
}

/// A table's.
struct Sweep {
    link: OwnedFd,
    every: u64,
    /// Flows that spoke at its last turn.
    watched: usize,
}

/// Sweeps over the flows that speak. One at a time: a flow that was told of is not told of to another.
pub struct Sweeper {
    sweeps: Vec<Sweep>,
    turn: u64,
    sleeps: Table<u32, u32>,
    wakes: Records<()>,
    buffer: Vec<u8>,
}

impl Host {
    /// The sweeper of this host's flows.
    pub fn sweeper(&self) -> Result<Sweeper, MapError> {
        let failed = |table| move |source| MapError { table, action: "attach an iterator to", source };
        let sweep = |(program, table, every): (&str, &'static str, u64)| {
            let other = |error: crate::object::LoadError| failed(table)(io::Error::other(error));
            let map: MapHandle = self.loaded.map(table).map_err(other)?;
            let program = self.loaded.program(program).map_err(other)?;
            let link = sys::link_iterator(program, map.as_fd()).map_err(failed(table))?;
            Ok(Sweep { link, every, watched: 0 })
        };
        Ok(Sweeper {
            sweeps: SWEEPS.into_iter().map(sweep).collect::<Result<_, MapError>>()?,
            turn: 0,
            sleeps: Table::open(&self.loaded, "sweeper_sleeps")
                .map_err(|error| failed("sweeper_sleeps")(io::Error::other(error)))?,
            wakes: Records::open(&self.loaded, "wakes", usize::MAX, |_| Some(()))?,
            buffer: vec![0; READ_BYTES],
        })
    }
}

impl Sweeper {
    /// Looks at every flow that speaks, as it is its table's turn.
    pub fn sweep(&mut self) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let turn = self.turn;
        self.turn += 1;
        for sweep in &mut self.sweeps {
            if !turn.is_multiple_of(sweep.every) {
                swept.watched += sweep.watched;
                continue;
            }
            let before = swept.watched;
            let mut records = sys::iterate(sweep.link.as_fd())?;
            loop {
                let len = match records.read(&mut self.buffer) {
                    Ok(0) => break,
                    Ok(len) => len,
                    Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                // The kernel cuts where its page ends only if a record does not fit: what is read is whole records.
                self.buffer[..len].chunks_exact(size_of::<stall>()).for_each(|record| swept.take(record));
            }
            sweep.watched = swept.watched - before;
        }
        Ok(swept)
    }

    /// Whoever speaks next makes the descriptor readable. What spoke just before may not have: sweep once more.
    pub fn sleep(&mut self) -> Result<(), MapError> {
        self.wakes.take()?;
        self.sleeps.put(&0, &1)
    }

    /// Nobody need wake it. The next sweep looks at everything.
    pub fn wake(&mut self) -> Result<(), MapError> {
        self.turn = 0;
        self.sleeps.put(&0, &0)?;
        self.wakes.take().map(drop)
    }
}

/// Readable when a flow has spoken since [`Sweeper::sleep`].
impl AsFd for Sweeper {
    #[expect(unsafe_code, reason = "libbpf gives its descriptor as a number")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring buffer's, which lives as long as self.
        unsafe { BorrowedFd::borrow_raw(self.wakes.as_raw_fd()) }
    }
}

impl Swept {
    fn take(&mut self, record: &[u8]) {
        let Some(record) = stall::from_bytes(record) else { return };
        let kind = match slr_host_const(record.kind) {
            slr_host_const::STALL_SWEPT => {
                self.watched += record.quiet_us as usize;
                return;
            }
            slr_host_const::STALL_OVER => {
                self.over.extend(flow_of(&record.flow));
                return;
            }
            slr_host_const::STALL_SENDING => StallKind::Sending,
            slr_host_const::STALL_RECEIVING => StallKind::Receiving,
            _ => StallKind::Datagrams,
        };
        self.stalled.extend(flow_of(&record.flow).map(|flow| Stall {
            flow,
            kind,
            quiet: Duration::from_micros(record.quiet_us.into()),
            srtt: Duration::from_micros(record.srtt_us.into()),
            tcp: TcpState {
                snd_una: record.snd_una,
                rcv_nxt: record.rcv_nxt,
                timestamps: (record.ts_recent != 0).then_some((record.ts_val, record.ts_recent)),
            },
        }));
    }
}
