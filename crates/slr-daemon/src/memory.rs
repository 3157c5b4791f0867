//! How the C library's allocator is set for a daemon that runs for months.
//!
//! A daemon takes memory in bursts (a thousand handshakes, a ring that is filled anew) on several threads. As shipped, the
//! allocator keeps an arena for each thread and moves its threshold for what goes back to the kernel up with the largest
//! block ever freed: a router that had met a thousand hosts at once was seen to keep 60 to 80 MB of nothing.
#![allow(unsafe_code, reason = "a setting of the C library")]

/// At the top of the heap, more than this goes back to the kernel. A fixed value: being set, it no longer grows by itself.
const TRIM_THRESHOLD: libc::c_int = 1 << 20;

/// One arena, trimmed when it shrinks. Call it before the first thread starts; without glibc it does nothing.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt() takes two integers, and no other thread allocates yet. A value that it does not take changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    }
}
