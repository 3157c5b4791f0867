//! `[echo]`, and when a subnet's flows count as stalled.

use std::time::Duration;

use slr_session::echoes::Rates;
use toml::Spanned;

use super::Complaints;
use crate::config::{DEFAULT_ECHOES_PER_CLIENT, DEFAULT_ECHOES_PER_HOST, DEFAULT_STALL, file};

impl Complaints {
    /// How many echoes clients are sent.
    pub fn echoes(&mut self, written: &file::Echo) -> Rates {
        Rates {
            per_client: self.number("per_client_s", &written.per_client_s, DEFAULT_ECHOES_PER_CLIENT, 1..=10_000),
            per_host: self.number("per_host_s", &written.per_host_s, DEFAULT_ECHOES_PER_HOST, 1..=100_000),
        }
    }

    /// How long a client may be silent; zero: as long as it likes.
    pub fn stall(&mut self, written: Option<Spanned<u64>>) -> Duration {
        self.millis("stall_ms", &written, DEFAULT_STALL, 0..=60_000)
    }
}
