//! The command line against the kernel: what a person or a script sees.

use slr_testkit::{eventually, require_root};
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const TWO: &str = r#"
name = "two"
[[node]]
name = "a"
[[node]]
name = "b"
[[link]]
a = { node = "a", addresses = ["10.9.0.1/24", "fd09::1/64"] }
b = { node = "b", addresses = ["10.9.0.2/24", "fd09::2/64"] }
"#;

/// A lab of a unique name that is taken down at the end of the test.
struct Run {
    name: String,
    topology: tempfile::NamedTempFile,
}

impl Run {
    fn new(test: &str, topology: &str) -> Self {
        require_root();
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(topology.as_bytes()).unwrap();
        Self { name: format!("t-cli-{test}-{}", std::process::id()), topology: file }
    }

    fn lab(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(LAB);
        command.arg(words[0]).args(["--run", &self.name]).args(&words[1..]).stdin(Stdio::null());
        command
    }

    fn up(&self) {
        let output = self.lab(&["up", "--topology", self.topology.path().to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
    }

    fn is_up(&self) -> bool {
        let text = stdout(&Command::new(LAB).arg("list").output().unwrap());
        text.lines().any(|line| line == self.name)
    }

    fn start_up(&self) -> Child {
        let path = self.topology.path().to_str().unwrap();
        self.command(&["up", "--topology", path]).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let output = self.lab(&["down"]);
        if !std::thread::panicking() {
            assert!(output.status.success(), "{output:?}");
        }
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn up_status_exec_link_and_down_do_what_they_say() {
    let run = Run::new("all", TWO);
    run.up();
    let status = run.lab(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", stderr(&status));
    for expected in ["10.9.0.1/24", "fd09::2/64", "to-b", "a → b", "1500"] {
        assert!(stdout(&status).contains(expected), "{expected} in\n{}", stdout(&status));
    }
    let exec = run.lab(&["exec", "a", "--", "sh", "-c", "echo $SLR_LAB_NODE; exit 7"]);
    assert_eq!((stdout(&exec).as_str(), exec.status.code()), ("a\n", Some(7)));

    let changed = run.lab(&["link", "b-a", "--delay", "5ms", "--mtu", "1400", "--from", "a"]);
    assert!(changed.status.success(), "{}", stderr(&changed));
    let links: serde_json::Value = serde_json::from_str(&stdout(&run.lab(&["links", "--json"]))).unwrap();
    assert_eq!(
        (&links["a_to_b"]["shape"]["delay_us"], &links["b_to_a"]["shape"]["delay_us"]),
        (&5_000.into(), &0.into())
    );
    let status: serde_json::Value = serde_json::from_str(&stdout(&run.lab(&["status", "--json"]))).unwrap();
    assert_eq!((&status["nodes"][1]["name"], &status["nodes"][1]["interfaces"][0]["mtu"]), (&"b".into(), &1400.into()));

    let cleared = run.lab(&["link", "a-b", "--clear", "--blackhole", "on"]);
    assert!(cleared.status.success(), "{}", stderr(&cleared));
    assert!(stdout(&run.lab(&["links"])).contains("ON"));
    assert!(run.lab(&["down"]).status.success());
    assert!(!run.is_up());
}

#[test]
fn mistakes_are_named_with_their_remedy_and_status_two() {
    let run = Run::new("err", TWO);
    run.up();
    for (words, expected) in [
        (&["up", "--topology", "/no/such.toml"][..], "cannot read topology /no/such.toml"),
        (&["up", "--topology", run.topology.path().to_str().unwrap()], "is up already; take it down with"),
        (&["exec", "z", "--", "true"], "no node \"z\"; its nodes are a, b"),
        (&["exec", "a", "--", "/no/such"], "start /no/such on a"),
        (&["link", "a-z", "--delay", "1ms"], "no node \"z\""),
        (&["link", "a-b"], "nothing to change"),
        (&["link", "a-b", "--delay", "1"], "a delay has a unit"),
        (&["link", "a-b", "--loss", "1%", "--from", "c"], "c is not an end of the link a-b"),
    ] {
        let output = run.lab(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(expected), "{words:?}: {expected:?} expected: {}", stderr(&output));
    }
    let output = Command::new(LAB).args(["status", "--run", "no-such"]).output().unwrap();
    assert!(output.status.code() == Some(2) && stderr(&output).contains(&run.name), "{}", stderr(&output));
}

#[test]
fn a_topology_with_an_unknown_key_is_refused_with_its_line() {
    let run = Run::new("key", &TWO.replace("[[link]]", "[[link]]\nlatency = 5"));
    let output = run.lab(&["up", "--topology", run.topology.path().to_str().unwrap()]);
    let text = stderr(&output);
    assert!(output.status.code() == Some(2) && text.contains("line 8") && text.contains("`latency`"), "{text}");
}

#[test]
fn status_of_a_lab_with_a_dead_process_is_one() {
    let run = Run::new("dead", TWO);
    run.up();
    assert!(run.lab(&["spawn", "b", "short", "--", "true"]).status.success());
    eventually(SOON, "status to see the end", || run.lab(&["status"]).status.code() == Some(1));
    assert!(stdout(&run.lab(&["status"])).contains("short DEAD"));
}

#[test]
fn an_interrupt_while_coming_up_leaves_nothing() {
    let run =
        Run::new("int", &TWO.replace("name = \"b\"\n[[link]]", "name = \"b\"\ncommands = [\"sleep 1\"]\n[[link]]"));
    let child = run.start_up();
    eventually(SOON, "the lab to be half up", || run.is_up());
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code() == Some(2) && stderr(&output).contains("interrupted"), "{}", stderr(&output));
    assert!(!run.is_up());
    let namespaces = std::fs::read_dir("/run/netns").unwrap().flatten();
    assert_eq!(namespaces.filter(|entry| entry.file_name().to_string_lossy().starts_with(&run.name)).count(), 0);
}

#[test]
fn a_half_finished_lab_whose_creator_was_killed_is_taken_down() {
    let run =
        Run::new("kill", &TWO.replace("name = \"b\"\n[[link]]", "name = \"b\"\ncommands = [\"sleep 1000\"]\n[[link]]"));
    let mut child = run.start_up();
    eventually(SOON, "the lab to be half up", || run.is_up());
    child.kill().unwrap();
    child.wait().unwrap();
    let down = run.lab(&["down"]);
    assert!(down.status.success(), "{}", stderr(&down));
    assert!(!run.is_up());
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let run = Run::new("pipe", TWO);
    run.up();
    let script = format!("{LAB} status --run {} | true; exit ${{PIPESTATUS[0]}}", run.name);
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}
