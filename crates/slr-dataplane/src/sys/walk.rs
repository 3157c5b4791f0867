//! A hash map read in parts: some thousand elements in a call of the kernel, and anything else between two calls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Elements a batched read asks for at once: enough to make the call's cost vanish, 0.5 MiB at the largest element.
pub const BATCH: usize = 8192;
/// Most elements of one bucket: no hash that works has more.
const BUCKET_MAX: usize = 1 << 20;

/// How far a walk over a map has come. The kernel's cursor is the number of a bucket, and a map's buckets stay: what is there
/// from the first part to the last is seen once. What is added or deleted meanwhile may be missed.
pub struct Walk {
    key_size: usize,
    value_size: usize,
    capacity: usize,
    /// None: at the start.
    cursor: Option<Vec<u8>>,
    next: Vec<u8>,
    keys: Vec<u8>,
    values: Vec<u8>,
    is_over: bool,
}

impl Walk {
    /// Over a map with elements of these sizes.
    pub fn new(key_size: usize, value_size: usize) -> Self {
        let next = vec![0u8; key_size.max(8)];
        let (keys, values) = (Vec::new(), Vec::new());
        Self { key_size, value_size, capacity: BATCH, cursor: None, next, keys, values, is_over: false }
    }

    /// Visits the next elements, [`BATCH`] of them or fewer; false: they were the last. (`lookup_batch` of libbpf-rs 0.27 stops at
    /// the first short batch; only ENOENT means the end.)
    pub fn go_on(&mut self, map: BorrowedFd<'_>, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<bool> {
        while !self.is_over {
            self.keys.resize(self.capacity * self.key_size, 0);
            self.values.resize(self.capacity * self.value_size, 0);
            let mut count = u32::try_from(self.capacity).expect("a batch is small");
            let from = self.cursor.as_mut().map_or(std::ptr::null_mut(), |cursor| cursor.as_mut_ptr());
            // SAFETY: the buffers hold `count` keys and values of the map's sizes, the cursors one key each.
            let ret = unsafe {
                libbpf_sys::bpf_map_lookup_batch(
                    map.as_raw_fd(),
                    from.cast(),
                    self.next.as_mut_ptr().cast(),
                    self.keys.as_mut_ptr().cast(),
                    self.values.as_mut_ptr().cast(),
                    &mut count,
                    std::ptr::null(),
                )
            };
            match check(ret) {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => self.is_over = true,
                // One bucket holds more than the whole batch: take more at once.
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && self.capacity < BUCKET_MAX => {
                    self.capacity *= 2;
                    continue;
                }
                Err(e) => return Err(e),
            }
            for i in 0..count as usize {
                visit(
                    &self.keys[i * self.key_size..][..self.key_size],
                    &self.values[i * self.value_size..][..self.value_size],
                );
            }
            self.cursor = Some(self.next.clone());
            break;
        }
        Ok(!self.is_over)
    }
}
