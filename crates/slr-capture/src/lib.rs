//! `slr-router capture` and `hostd capture`: packets as the program met them, each with what became of it, as a pcapng file.
//!
//! XDP comes before everything that tcpdump sees, so the programs themselves have to tell. [`options`] is what can be asked for,
//! [`command`] loads the program that captures, reads what it finds and writes it ([`pcapng`], [`label`]). The daemon has but one
//! part, [`desk`]: it puts that program on its interfaces, for a process that says every second that it still is there, and takes
//! it off again.

pub mod command;
pub mod desk;
pub mod label;
pub mod options;
pub mod pcapng;
pub mod sink;
pub mod summary;

pub use command::{Setup, run};
pub use desk::{Desk, Order, Standing};
pub use options::Options;
pub use summary::summary;
