//! A host daemon of the next ABI version, reduced to its data plane; `tests/bpf_host` upgrades to it.
//!
//! Takes the pin directory, an interface and a cgroup, goes through a start and ends. Prints what was found at load.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/bpf_host/bed.rs"]
mod bed;

use std::error::Error;
use std::path::Path;

use slr_dataplane::host::{Host, HostOptions, XdpMode};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [pin_dir, interface, cgroup] = &words[..] else {
        return Err("usage: next_host PIN_DIR INTERFACE CGROUP".into());
    };
    let (mut host, adoption) = Host::load(&HostOptions { pin_dir: Some(pin_dir.into()) })?;
    host.apply(&bed::desired())?;
    host.attach_cgroup(Path::new(cgroup))?;
    host.attach(interface, XdpMode::Auto)?;
    host.settle()?;
    println!("version {} {adoption:?}", slr_dataplane::abi::VERSION);
    Ok(())
}
