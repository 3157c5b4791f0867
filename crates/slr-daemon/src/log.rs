//! Logs: lines on stderr, where both a person and systemd's journal read them.
//!
//! Levels: state changes are INFO, decisions DEBUG, what should wake someone WARN; per-packet matters are counters.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// The variable that overrides the level, in `tracing`'s filter syntax (`debug`, `hostd=trace,info`).
pub const VARIABLE: &str = "SLR_LOG";

/// Starts logging at INFO unless [`VARIABLE`] says otherwise. The first call wins; later ones change nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // The journal stamps every line itself. An error means that a logger is installed already: a test's, which stays.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}
