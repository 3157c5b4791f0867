//! Figures for Prometheus, and two answers for whoever supervises: is it alive, is it ready?
//!
//! `/metrics` is a snapshot that the daemon's loop handed over, written out by the thread of the [`Exporter`] when somebody
//! asks. `/healthz` says 200 as long as the loop turns, `/readyz` as long as the loop says that it is ready; else 503 and
//! why. The thread is its own so that a stuck loop is told of and not just a second thing that is stuck; between the
//! two there are pointers that are swapped, no lock that anyone waits for.
//!
//! ```no_run
//! use slr_daemon::metrics::{Exporter, Family, Kind, Snapshot, Text};
//!
//! const TURNS: Family =
//!     Family { name: "slr_turns_total", kind: Kind::Counter, labels: &[], help: "Turns of the loop." };
//! struct Figures { turns: u64 }
//! impl Snapshot for Figures {
//!     fn write(&self, text: &mut Text) {
//!         text.family(&TURNS).add(&[], self.turns);
//!     }
//! }
//!
//! let exporter = Exporter::start(Some("127.0.0.1:9401".parse()?))?;
//! exporter.ready(Ok(()));
//! for turns in 0.. {
//!     exporter.turned();
//!     exporter.publish(Figures { turns });
//! }
//! # anyhow::Ok(())
//! ```

mod exporter;
mod listener;
mod page;
mod text;

pub use exporter::{Exporter, ExporterError, Snapshot};
pub use page::{COMMON, TURN_AGE_MAX};
pub use text::{Family, Kind, Number, Samples, Text, table};
