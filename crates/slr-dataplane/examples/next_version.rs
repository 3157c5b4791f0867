//! A router daemon of the next ABI version, reduced to its data plane; `tests/bpf_router_restart` upgrades to it.
//!
//! Takes the pin directory as its argument and one command a line: `settle`, `apply`, `frame HEX`. Answers with one line
//! each, the first at once: what was found at load.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/common/site.rs"]
mod site;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use slr_dataplane::abi;
use slr_dataplane::router::{Router, RouterOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let pin_dir = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: next_version PIN_DIR")?;
    let (mut router, adoption) = Router::load(&RouterOptions { pin_dir: Some(pin_dir), ..RouterOptions::default() })?;
    let mut out = io::stdout().lock();
    writeln!(out, "version {} {adoption:?}", abi::VERSION)?;
    for line in io::stdin().lock().lines() {
        let answer = match line?.split_once(' ').unwrap_or_else(|| panic!("a command and what it is about")) {
            ("settle", _) => format!("settled {}", router.settle()?),
            ("apply", _) => {
                let applied = router.apply(&site::site())?;
                format!("applied {applied:?}")
            }
            ("frame", hex) => {
                let run = router.test_run(&from_hex(hex)?)?;
                format!("{:?} {}", run.verdict, to_hex(&run.packet))
            }
            (other, _) => return Err(format!("no command {other}").into()),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn from_hex(text: &str) -> Result<Vec<u8>, std::num::ParseIntError> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16)).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
