//! The link emulator: delay, loss, rate and blackhole between two veth pairs, for kernels without netem.
//!
//! An emulated link A–B of a lab is two veth pairs, A↔emulator and B↔emulator. One process per lab, `slr-linkemu`,
//! started by [`Lab::up`](crate::lab::Lab::up) inside the namespace that holds all emulator ends, copies frames between
//! them. Both carriers stay up whatever the emulation does, which is what sets a blackhole apart from a cable pulled.
//!
//! [`pipe`] decides (pure: frames and `now` in, frames and deadlines out); `packet_socket` moves bytes;
//! [`control`] is the socket through which tests change a link while it runs; [`run`] is the loop over them.

pub mod control;
mod moderation;
mod packet_socket;
pub mod pipe;
mod run;
pub mod xdp_verdict;

pub use run::run;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Raised with any change to what the processes of one lab say to each other, so that a stale `slr-linkemu` is refused.
pub const PROTOCOL_VERSION: u32 = 1;

/// What one direction of a link does to frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Time on the wire, one way, µs.
    pub delay_us: u64,
    /// Probability that a frame is lost, 0 to 1.
    pub loss: f64,
    /// Bits per second; `None` is unlimited.
    pub rate_bps: Option<std::num::NonZeroU64>,
    /// Every frame is lost, also those on the wire when it begins, while the carrier stays up.
    pub blackhole: bool,
}

/// A change to a [`Shape`]: `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShapeChange {
    /// New delay, one way, µs.
    pub delay_us: Option<u64>,
    /// New loss probability, 0 to 1.
    pub loss: Option<f64>,
    /// New rate in bits per second; 0 is unlimited.
    pub rate_bps: Option<u64>,
    /// Begin or end a blackhole.
    pub blackhole: Option<bool>,
}

impl ShapeChange {
    /// The shape after this change.
    #[must_use]
    pub fn applied_to(&self, shape: &Shape) -> Shape {
        Shape {
            delay_us: self.delay_us.unwrap_or(shape.delay_us),
            loss: self.loss.unwrap_or(shape.loss),
            rate_bps: self.rate_bps.map_or(shape.rate_bps, std::num::NonZeroU64::new),
            blackhole: self.blackhole.unwrap_or(shape.blackhole),
        }
    }
}

/// What happened to the frames of one direction. Every frame offered is in exactly one of these, or still on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames handed to the far end.
    pub frames: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// Lost by the loss probability.
    pub lost: u64,
    /// Swallowed by a blackhole.
    pub blackholed: u64,
    /// Came faster than the rate for longer than its queue holds.
    pub queue_full: u64,
    /// More on the wire than the emulator keeps in memory.
    pub wire_full: u64,
    /// The far end refused the frame (interface down, larger than its MTU).
    pub send_failed: u64,
    /// Dropped by the kernel before the emulator read them.
    pub not_read: u64,
}

/// What the emulator is told at its start: the contents of `emu.json` in the lab's state directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// [`PROTOCOL_VERSION`] of who wrote this.
    pub version: u32,
    /// Name of the lab.
    pub run: String,
    /// Where the control socket goes.
    pub socket: PathBuf,
    /// Seed of the losses.
    pub seed: u64,
    /// The lab is taken down when this process ends.
    pub owner: Option<u32>,
    /// The links to emulate.
    pub links: Vec<LinkConfig>,
}

/// One emulated link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkConfig {
    /// Node at the A end, and the emulator's interface towards it.
    pub a: (String, String),
    /// The same for B.
    pub b: (String, String),
    /// Both directions' shape at the start.
    pub shape: Shape,
}
