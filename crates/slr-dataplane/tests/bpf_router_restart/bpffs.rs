//! A BPF file system that only the test sees, and that is gone with it whatever happens: it is mounted in a mount namespace
//! of the test's own thread.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Every kernel with BPF has this folder.
const HERE: &str = "/sys/fs/bpf";

/// Run a test with an empty pin directory.
pub fn with_pins(test: impl FnOnce(&Path) + Send) {
    slr_testkit::require_root();
    thread::scope(|scope| {
        let ended = scope.spawn(|| {
            mount_private();
            test(&PathBuf::from(HERE).join("slr-router"));
        });
        if let Err(panic) = ended.join() {
            resume_unwind(panic);
        }
    });
}

fn mount_private() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root can make a mount namespace");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts can be made private");
    mount(Some("bpf"), HERE, Some("bpf"), MsFlags::empty(), none).expect("a BPF file system can be mounted");
}
