//! What the tests share: the two sides of the program as processes, and servers that misbehave.

#![expect(dead_code, reason = "each test binary uses the part that it needs")]

pub mod faulty;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A `probe serve` on free ports of both loopback addresses, stopped when dropped.
pub struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    /// Starts one; it is ready when this returns.
    pub fn start(identity: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_probe"))
            .args(["serve", "--identity", identity, "--http-port", "0", "--echo-port", "0", "--udp-port", "0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { child, ready }
    }

    /// The full identity: name, process, start.
    pub fn identity(&self) -> &str {
        self.ready["identity"].as_str().expect("identity is text")
    }

    /// Options that point `probe run` at the sockets of one address family.
    pub fn options(&self, v6: bool) -> Vec<String> {
        let port = |service: &str| {
            let sockets = self.ready[service].as_array().expect("a list").iter().filter_map(Value::as_str);
            let socket = sockets.into_iter().find(|socket| socket.starts_with('[') == v6).expect("one of the family");
            socket.rsplit(':').next().expect("a port").to_owned()
        };
        let target = if v6 { "::1" } else { "127.0.0.1" };
        ["--target", target, "--http-port", &port("http"), "--echo-port", &port("echo"), "--udp-port", &port("udp")]
            .map(str::to_owned)
            .to_vec()
    }

    /// Ends the process and waits for it; true when it ended well.
    pub fn stop(mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("the server is ours");
        self.child.wait().expect("the server is ours").success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a `probe run --json` came to.
pub struct Run {
    pub status: i32,
    pub report: Value,
    pub stderr: String,
}

/// Runs the client side to its end.
pub fn run(options: &[impl AsRef<std::ffi::OsStr>], more: &str) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(["run", "--json"])
        .args(options)
        .args(more.split_ascii_whitespace())
        .output()
        .expect("the binary under test starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Run { status: output.status.code().expect("not killed"), report, stderr }
}

impl Run {
    /// The report of a kind towards the first target that has one.
    pub fn kind(&self, kind: &str) -> &Value {
        let kinds = self.report["kinds"].as_array().unwrap_or_else(|| panic!("no report: {}", self.stderr));
        kinds.iter().find(|report| report["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {}", self.report))
    }

    /// A number of a kind's report, for instance `number("udp", "/exchanges/lost")`.
    pub fn number(&self, kind: &str, pointer: &str) -> u64 {
        let number = self.kind(kind).pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no {pointer} in {}", self.kind(kind)))
    }

    /// Asserts that every flow of a kind failed, and by what.
    pub fn assert_all_failed(&self, kind: &str, cause: &str, flows: u64) {
        let report = self.kind(kind);
        assert_eq!(self.status, 1, "{report}");
        assert_eq!(report["failures"], serde_json::json!({ cause: flows }), "{report}");
        assert_eq!(report["failed"], flows, "{report}");
        assert_eq!(report["completed"], 0, "{report}");
        assert_eq!(self.report["ok"], false);
    }
}
