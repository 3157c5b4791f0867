//! A large hash read in parts, on a thread of its own: one call of the kernel passes over all empty buckets before the next
//! element, and of a table of millions that has few of them, that takes a tenth of a second. Who has other things to do takes the
//! parts as they come.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use super::{MapError, Table};
use crate::abi::Pod;
use crate::sys;

/// Parts that are read ahead.
const AHEAD: usize = 1;

/// What a walk gives.
#[derive(Debug)]
pub enum Part<T> {
    /// The next part: some thousand elements, or fewer.
    Read(T),
    /// It is being read.
    NotYet,
    /// There are no more.
    Over,
}

/// A walk under way. Dropping it ends it. What is there from its beginning to its end is seen once; what is added or removed
/// meanwhile may be missed.
pub struct Walk<K, V> {
    parts: Receiver<io::Result<Vec<(K, V)>>>,
    name: &'static str,
}

impl<K: Pod + Send + 'static, V: Pod + Send + 'static> Table<K, V> {
    /// Begins a walk over a hash.
    pub fn walk(&self) -> Result<Walk<K, V>, MapError> {
        let map = self.map.as_fd().try_clone_to_owned().map_err(self.failed("begin to read all"))?;
        let (send, parts) = sync_channel(AHEAD);
        let read = move || {
            let mut walk = sys::Walk::new(size_of::<K>(), size_of::<V>());
            loop {
                let mut part = Vec::with_capacity(sys::BATCH);
                let more = walk.go_on(map.as_fd(), |key, value| {
                    let sized = "sized by the map";
                    part.push((K::from_bytes(key).expect(sized), V::from_bytes(value).expect(sized)));
                });
                let is_last = !matches!(more, Ok(true));
                // Nobody may be there to take it any more.
                if send.send(more.map(|_| part)).is_err() || is_last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("walk".to_owned()).spawn(read);
        thread.map_err(self.failed("begin to read all"))?;
        Ok(Walk { parts, name: self.name })
    }
}

impl<K, V> Walk<K, V> {
    /// The next part, if it was read; `waits`: it is waited for.
    pub fn next(&mut self, waits: bool) -> Result<Part<Vec<(K, V)>>, MapError> {
        let part = match self.parts.try_recv() {
            Ok(part) => Some(part),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) if waits => self.parts.recv().ok(),
            Err(TryRecvError::Empty) => return Ok(Part::NotYet),
        };
        let failed = |source| MapError { table: self.name, action: "read all", source };
        part.map_or(Ok(Part::Over), |part| part.map(Part::Read).map_err(failed))
    }
}
