//! The machine's clock, as far as the kernel knows how well it is set (adjtimex(2)). The time itself is never touched.

use std::io;

/// A machine whose clock is said to be so far off at most, until this goes out of scope.
#[derive(Debug)]
pub struct ClockError {
    before: libc::timex,
}

impl ClockError {
    /// From now on; the kernel adds 500 microseconds a second. As root.
    pub fn set(microseconds: i64) -> io::Result<Self> {
        let before = adjust(zeroed())?;
        let guard = Self { before };
        guard.change(microseconds)?;
        Ok(guard)
    }

    /// Another one.
    pub fn change(&self, microseconds: i64) -> io::Result<()> {
        let mut time = zeroed();
        time.modes = libc::ADJ_MAXERROR | libc::ADJ_STATUS;
        time.maxerror = microseconds;
        time.status = self.before.status & !libc::STA_UNSYNC;
        adjust(time).map(drop)
    }
}

impl Drop for ClockError {
    fn drop(&mut self) {
        let mut time = zeroed();
        time.modes = libc::ADJ_MAXERROR | libc::ADJ_STATUS;
        (time.maxerror, time.status) = (self.before.maxerror, self.before.status);
        let _ = adjust(time);
    }
}

fn zeroed() -> libc::timex {
    #[expect(unsafe_code, reason = "the C type has padding of its own")]
    // SAFETY: integers only, for which zero is a value.
    unsafe {
        std::mem::zeroed()
    }
}

fn adjust(mut time: libc::timex) -> io::Result<libc::timex> {
    #[expect(unsafe_code, reason = "no wrapper has it")]
    // SAFETY: reads and writes the struct that it is given.
    let state = unsafe { libc::adjtimex(&raw mut time) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(time) }
}
