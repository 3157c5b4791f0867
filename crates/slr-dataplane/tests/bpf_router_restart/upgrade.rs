//! To the next ABI version and back: a daemon of another layout takes the flows over while this one still forwards.
//! Slow the first time: it builds the crate once more, with another layout of its tables.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use slr_dataplane::abi;
use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Adoption, Router, RouterOptions};

use crate::bpffs::with_pins;
use crate::common::site;
use crate::same::{FAMILIES, FLOWS, ack, place, start, syn};

/// Build `examples/next_version.rs` beside this test's own build, and keep a copy that no other build replaces.
fn build_next_version(copy_to: &Path) -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a path");
    let target = this.ancestors().nth(3).expect("TARGET/PROFILE/deps/NAME");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "slr-dataplane", "--example", "next_version"])
        .args(["--features", "abi-next", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(target)
        .status()
        .expect("cargo starts");
    assert!(status.success(), "the next version does not build");
    let copy = copy_to.join("next_version");
    std::fs::copy(target.join("release/examples/next_version"), &copy).expect("a built example");
    copy
}

/// A daemon of the next version, on the test's pins; ended with the value.
struct Next {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Next {
    fn start(program: &Path, pin_dir: &Path) -> (Self, String) {
        let mut command = Command::new(program);
        command.arg(pin_dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the next version starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut next = Self { child, input, output };
        let found = next.answer();
        (next, found)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the next version answers");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").expect("the next version listens");
        self.answer()
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_next_version_takes_over_what_this_one_knows_and_gives_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = build_next_version(folder.path());
    with_pins(|pin_dir| {
        let (this, adoption) = start(pin_dir, site::site());
        assert_eq!(adoption, Adoption::Fresh);
        place(&this, 1, FLOWS);
        for ends in FAMILIES {
            assert_eq!(this.send(&syn(ends, 9000)).reason, R::FwdNew, "pending across the upgrade");
        }

        // The next version has loaded and copied; this one still forwards, and learns of more flows.
        let (mut next, found) = Next::start(&program, pin_dir);
        let (version, pinned) = (abi::VERSION + 1, 2 * FLOWS);
        assert_eq!(found, format!("version {version} Upgraded {{ from: {}, flows: {pinned} }}", abi::VERSION));
        let late = 10;
        place(&this, 1 + FLOWS, late);
        let frames: Vec<_> = FAMILIES.iter().flat_map(|ends| (1..=FLOWS + late).map(|port| ack(*ends, port))).collect();
        let expected: Vec<_> = frames.iter().map(|frame| this.send(frame).packet).collect();
        drop(this);

        assert_eq!(next.ask("settle all"), format!("settled {}", 2 * late));
        assert!(!pin_dir.join(format!("v{}", abi::VERSION)).exists(), "the old version's pins are gone");
        let applied = next.ask("apply site");
        for nothing in ["hosts_added: []", "hosts_changed: []", "rings_published: 0", "slots_moved: 0"] {
            assert!(applied.contains(nothing), "{nothing}: {applied}");
        }
        for (frame, packet) in frames.iter().zip(&expected) {
            assert_eq!(next.ask(&format!("frame {}", hex(frame))), format!("Tx {}", hex(packet)));
        }
        drop(next);

        // Tables that cannot hold all flows are refused, and what they got is not taken for the whole the next time.
        let small =
            RouterOptions { pin_dir: Some(pin_dir.to_owned()), flows_per_family: 16, new_flows_per_family: 1 << 10 };
        for _ in 0..2 {
            let refused = Router::load(&small).map(|(_, adoption)| adoption);
            assert!(refused.is_err(), "{} flows were taken over: {refused:?}", 2 * (FLOWS + late));
        }

        // And back. The next version's pending flows are proved by their second packet here.
        let (mut this, adoption) = start(pin_dir, site::site());
        let flows = u64::from(2 * (FLOWS + late));
        assert_eq!(adoption, Adoption::Upgraded { from: version, flows });
        this.router.settle().expect("the other version's pins can be removed");
        assert!(!pin_dir.join(format!("v{version}")).exists());
        for (frame, packet) in frames.iter().zip(&expected) {
            let outcome = this.send(frame);
            assert_eq!((outcome.reason, &outcome.packet), (R::FwdEstablished, packet));
        }
        for ends in FAMILIES {
            assert_eq!(this.send(&ack(ends, 9000)).reason, R::FwdPromoted, "pending across both upgrades");
        }
    });
}
