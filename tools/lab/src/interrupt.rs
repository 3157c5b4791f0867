//! Ctrl-C while a lab comes up: a flag that bringing up looks at between its steps, so that it undoes what it made.

use nix::sys::signal::{SigSet, Signal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// From now on SIGINT, SIGTERM and SIGHUP set the returned flag instead of ending the process. Call before any other
/// thread exists; programs started on nodes are not concerned, for the lab resets their signal mask.
pub fn flag() -> anyhow::Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let flag = Arc::new(AtomicBool::new(false));
    let for_thread = Arc::clone(&flag);
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            for_thread.store(true, Ordering::Relaxed);
        }
    });
    Ok(flag)
}
