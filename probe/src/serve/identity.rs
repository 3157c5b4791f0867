//! Who answers: the name given, the process, and this start of it.

use std::{
    cell::Cell,
    process,
    time::{SystemTime, UNIX_EPOCH},
};

/// Identity of one server process, and the count of its connections.
pub struct Identity {
    text: String,
    connections: Cell<u64>,
}

impl Identity {
    /// `<name>/<pid>/<start>`. Process ids repeat (each network namespace's first server may well have the same one,
    /// and the kernel reuses them), so the start nonce is what makes a restarted server another server.
    pub fn of_this_process(name: &str) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos() as u64);
        let nonce = crate::rng::mix(since_epoch ^ u64::from(process::id()) << 32) as u32;
        Self { text: format!("{name}/{}/{nonce:08x}", process::id()), connections: Cell::new(0) }
    }

    /// The identity as answers carry it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of the connection that has just come, from 1.
    pub fn next_connection(&self) -> u64 {
        self.connections.set(self.connections.get() + 1);
        self.connections.get()
    }
}
