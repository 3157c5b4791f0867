//! A table of pinned flows, as those see it who may add to it: the kernel's, or that of a simulation.

use crate::abi::{Pod, flow};
use crate::table::{MapError, Table};

/// Pinned flows by their keys.
pub(super) trait Pins<K> {
    /// The pin of a flow.
    fn get(&self, key: &K) -> Result<Option<flow>, MapError>;
    /// Pins it, whatever is there.
    fn put(&self, key: &K, pin: &flow) -> Result<(), MapError>;
    /// Pins it if nothing is there; whether that was so.
    fn put_new(&self, key: &K, pin: &flow) -> Result<bool, MapError>;
}

impl<K: Pod> Pins<K> for Table<K, flow> {
    fn get(&self, key: &K) -> Result<Option<flow>, MapError> {
        Table::get(self, key)
    }

    fn put(&self, key: &K, pin: &flow) -> Result<(), MapError> {
        Table::put(self, key, pin)
    }

    fn put_new(&self, key: &K, pin: &flow) -> Result<bool, MapError> {
        Table::put_new(self, key, pin)
    }
}
