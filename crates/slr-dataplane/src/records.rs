//! Records that a program writes into a ring buffer, as values.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

use libbpf_rs::{RingBuffer, RingBufferBuilder};

use crate::object::Loaded;
use crate::table::{MapError, io_error};

/// The reader of a ring buffer; one at a time, since two would each see a part.
pub(crate) struct Records<T> {
    table: &'static str,
    at_once: usize,
    ring: RingBuffer<'static>,
    found: Rc<RefCell<Vec<T>>>,
}

impl<T: 'static> Records<T> {
    /// Reads the table of this name, at most `at_once` records a time. What `value_of` makes nothing of is left out.
    pub fn open(
        loaded: &Loaded,
        table: &'static str,
        at_once: usize,
        value_of: impl Fn(&[u8]) -> Option<T> + Send + 'static,
    ) -> Result<Self, MapError> {
        let map = loaded.map(table).map_err(|error| failed(table, io::Error::other(error.to_string())))?;
        let found = Rc::<RefCell<Vec<T>>>::default();
        let into = found.clone();
        let mut builder = RingBufferBuilder::new();
        let add = builder.add(&map, move |bytes| {
            into.borrow_mut().extend(value_of(bytes));
            0
        });
        add.map_err(|error| failed(table, io_error(error)))?;
        let ring = builder.build().map_err(|error| failed(table, io_error(error)))?;
        Ok(Self { table, at_once, ring, found })
    }

    /// What has come since. More may be there: to be called until it returns nothing.
    pub fn take(&mut self) -> Result<Vec<T>, MapError> {
        let consumed = self.ring.consume_raw_n(self.at_once);
        if consumed < 0 {
            return Err(failed(self.table, io::Error::from_raw_os_error(-consumed)));
        }
        Ok(self.found.take())
    }
}

#[expect(unsafe_code, reason = "libbpf-rs says nothing of threads")]
// SAFETY: libbpf's ring buffer is memory and descriptors of the process, of no thread. Both ends of `found` are in here and move
// together: the other is in the ring's callback, which runs only inside `take`. The callback's function is Send.
unsafe impl<T: Send> Send for Records<T> {}

/// Readable when there are records, unless the program wakes nobody.
impl<T> AsRawFd for Records<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.epoll_fd()
    }
}

impl<T> AsFd for Records<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[expect(unsafe_code, reason = "libbpf-rs tells the number alone")]
        // SAFETY: the descriptor belongs to the ring, which self keeps for as long as it is borrowed.
        unsafe {
            BorrowedFd::borrow_raw(self.ring.epoll_fd())
        }
    }
}

fn failed(table: &'static str, source: io::Error) -> MapError {
    MapError { table, action: "read", source }
}
