//! A client, a router and a host, each in a namespace, and a daemon in the router's. All is gone when the value is.
//!
//!     client 10.0.1.2, fd00:0:1::2 ── wan0 [router] lan0 ── host 10.1.11.2, fd00:1:11::2

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use slr_testkit::netns::NetNs;
use slr_testkit::{eventually, require_root};
use tempfile::TempDir;

pub const EXE: &str = env!("CARGO_BIN_EXE_slr-router");
pub const HOST_MAC: &str = "02:00:00:00:11:02";

const HOSTS: &str = r#"
[[host]]
name = "h4"
address = "10.1.11.2"
subnets = ["web", "web6"]
weight = 100

[[host]]
name = "h6"
address = "fd00:1:11::2"
subnets = ["web", "web6"]
"#;

pub struct Site {
    pub client: NetNs,
    pub router: NetNs,
    pub host: NetNs,
    folder: TempDir,
    config: String,
    daemon: Mutex<Option<Child>>,
}

impl Site {
    pub fn new() -> Self {
        require_root();
        let folder = tempfile::Builder::new().prefix("slr-router-test-").tempdir().unwrap();
        mount_bpffs(&folder);
        let namespace = || NetNs::new().unwrap();
        let site = Self {
            client: namespace(),
            router: namespace(),
            host: namespace(),
            config: config(&folder),
            folder,
            daemon: Mutex::new(None),
        };
        site.plug_client();
        let wire = format!("link add lan0 type veth peer name eth0 netns {}", path_of(&site.host));
        site.router.ip(&wire).unwrap();
        site.router
            .ip_batch("addr add 10.1.11.1/24 dev lan0\naddr add fd00:1:11::1/64 dev lan0 nodad\nlink set lan0 up")
            .unwrap();
        site.host
            .ip_batch(&format!(
                "link set eth0 address {HOST_MAC}\naddr add 10.1.11.2/24 dev eth0\n\
                 addr add fd00:1:11::2/64 dev eth0 nodad\nlink set eth0 up"
            ))
            .unwrap();
        site.write_config(&site.config);
        site.write_hosts(HOSTS);
        site
    }

    /// Puts a cable between client and router.
    pub fn plug_client(&self) {
        let wire = format!("link add wan0 type veth peer name eth0 netns {}", path_of(&self.client));
        self.router.ip(&wire).unwrap();
        self.router
            .ip_batch("addr add 10.0.1.1/24 dev wan0\naddr add fd00:0:1::1/64 dev wan0 nodad\nlink set wan0 up")
            .unwrap();
        self.client
            .ip_batch(
                "addr add 10.0.1.2/24 dev eth0\naddr add fd00:0:1::2/64 dev eth0 nodad\nlink set eth0 up\n\
                 route add default via 10.0.1.1\nroute add default via fd00:0:1::1",
            )
            .unwrap();
    }

    pub fn config(&self) -> String {
        self.config.clone()
    }

    pub fn hosts(&self) -> String {
        fs::read_to_string(self.folder.path().join("hosts.toml")).unwrap()
    }

    pub fn write_config(&self, text: &str) {
        fs::write(self.folder.path().join("router.toml"), text).unwrap();
    }

    pub fn write_hosts(&self, text: &str) {
        fs::write(self.folder.path().join("hosts.toml"), text).unwrap();
    }

    pub fn pins(&self) -> PathBuf {
        pins(&self.folder)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// Starts a daemon and waits until it answers with a configuration in force.
    pub fn start(&self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = self.router.command(EXE);
        command.args(["run", "--config", "router.toml"]).current_dir(self.folder.path()).stderr(log);
        *self.daemon.lock().unwrap() = Some(command.spawn().unwrap());
        eventually(Duration::from_secs(10), "the daemon to be up", || {
            self.command(&["show", "hosts"]).status.success()
        });
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.daemon.lock().unwrap().as_ref().expect("a daemon is running").id();
        assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut daemon) = self.daemon.lock().unwrap().take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// SIGTERM; the daemon must end well.
    pub fn terminate(&self) {
        self.signal("TERM");
        let status = self.daemon.lock().unwrap().take().unwrap().wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Runs `slr-router` in the router's namespace; `show`, `reload` and `trace` find the daemon's socket.
    pub fn command(&self, words: &[&str]) -> Output {
        let mut command = self.router.command(EXE);
        command.args(words).current_dir(self.folder.path());
        if matches!(words[0], "show" | "reload" | "trace") {
            command.arg("--socket").arg(self.socket());
        }
        command.output().unwrap()
    }

    /// Runs any program in the router's namespace.
    pub fn command_of(&self, program: &str, words: &[&str]) -> Output {
        self.router.command(program).args(words).output().unwrap()
    }

    /// What `ip` prints in the router's namespace.
    pub fn router_ip(&self, line: &str) -> String {
        let output = self.command_of("ip", &line.split(' ').collect::<Vec<_>>());
        String::from_utf8(output.stdout).unwrap()
    }

    /// `slr-router show WHAT --json`.
    pub fn show(&self, what: &str) -> Value {
        let output = self.command(&["show", what, "--json"]);
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        self.kill();
        let _ = fs::remove_dir_all(self.pins());
        let _ = Command::new("umount").arg(bpffs(&self.folder)).status();
    }
}

/// A bpf file system of the test's own: a fresh machine may have none mounted yet.
fn bpffs(folder: &TempDir) -> PathBuf {
    folder.path().join("bpf")
}

fn mount_bpffs(folder: &TempDir) {
    let at = bpffs(folder);
    fs::create_dir(&at).unwrap();
    let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&at).status().unwrap();
    assert!(mounted.success(), "no bpf file system can be mounted at {}", at.display());
}

fn pins(folder: &TempDir) -> PathBuf {
    bpffs(folder).join("pins")
}

fn config(folder: &TempDir) -> String {
    format!(
        r#"
hosts = "hosts.toml"

[node]
name = "slr-1"

[tunnel]
sources = ["10.1.255.0/24", "fd00:1:ff::/64"]

[dataplane]
interfaces = ["wan0"]
xdp = "native"
pin_path = "{}"
flows_per_family = 4096
new_flows_per_family = 4096

[admin]
socket = "admin.sock"

[[subnet]]
name = "web"
prefix = "192.0.2.0/24"

[[subnet]]
name = "web6"
prefix = "2001:db8:1::/64"
"#,
        pins(folder).display()
    )
}

/// A namespace as `ip` takes it.
fn path_of(namespace: &NetNs) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
}
