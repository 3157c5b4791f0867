//! Debian 12's kernel, 6.1, the oldest that is supported, in a virtual machine: its verifier takes the programs, they do there what they
//! do elsewhere, and a site of real daemons serves requests.
//!
//! The machine is emulated, at a tenth of this one's speed and less, so it runs what a kernel can answer differently: loading, the
//! fixtures of both programs, what takes over from an earlier daemon, one site. Figures, floods and comparisons of millions of packets
//! say nothing more there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Test programs by their packages' folders, and which of their tests: words for each, as on its command line.
const RUNS: [(&str, &str, &str); 6] = [
    ("crates/slr-dataplane", "bpf_router_fixtures", BUT_ROUTER),
    ("crates/slr-dataplane", "bpf_host", BUT_HOST),
    ("crates/slr-dataplane", "bpf_router_restart", "--skip the_next_version_takes_over"),
    ("crates/slr-dataplane", "bpf_router_services", ""),
    ("crates/slr-dataplane", "bpf_capture", "--skip a_sample_is_near --skip beyond_the_rate"),
    ("tools/xtask", "netns_http", "a_few_requests_of_each_family"),
];
/// Left out: what an emulated machine is too slow for, of budgets and of the milliseconds of a search, and a test run with more metadata
/// than 6.1 allows. As of the restarts, what has cargo build another version.
const BUT_ROUTER: &str = "--skip a_client_prefix_has_so_much_of_the_daemons_time --skip packets_of_a_searched_flow_take_one_way \
                          --skip without_room_before_the_frame";
/// What bounds the moment of a cut by a command that takes half a second there.
const BUT_HOST: &str = "--skip stalls::a_client_that_asks_at_even --skip stalls::a_server --skip stalls::a_udp_server --skip another_version";
/// For all of them: they take half of it.
const LIMIT: Duration = Duration::from_secs(480);

/// The program that was built last of a test.
fn test_program(name: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let is_one = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')) && path.extension().is_none()
    };
    let built = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let found = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_one).max_by_key(built);
    found.unwrap_or_else(|| panic!("{name} is not in {}: cargo test --release --workspace --no-run", folder.display()))
}

/// A script that runs all of them, also after one has failed. Two at a time: the machine has two processors.
fn job(root: &Path) -> String {
    let mut text = "status=0\nuname --kernel-release\n".to_owned();
    for (folder, name, words) in RUNS {
        let (folder, program) = (root.join(folder), test_program(name));
        text += &format!(
            "cd {folder:?}; echo '== {name} {words}'; {program:?} {words} --test-threads=2 || status=1; echo \"after $SECONDS s\"\n"
        );
    }
    text + "exit $status\n"
}

#[test]
fn the_oldest_kernel_takes_the_programs_and_serves_requests() {
    let root = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), job(&root)).unwrap();
    let begun = Instant::now();
    let mut command = Command::new(root.join("tools/kernel/run"));
    let output = command.arg(script.path()).arg(LIMIT.as_secs().to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    println!("{:.0} s in all", begun.elapsed().as_secs_f64());
    assert!(output.status.success(), "{}", output.status);
    assert!(said.contains("\n6.1.") || said.starts_with("6.1."), "the kernel is the one that was asked for");
    // Nothing counts that ran no test.
    let passed = said.lines().filter(|line| line.starts_with("test result: ok. ") && !line.contains("ok. 0 passed"));
    assert_eq!(passed.count(), RUNS.len());
}
