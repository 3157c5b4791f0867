//! A network namespace as a value: closures and commands run inside it, and it is gone when the value is.
//!
//! A namespace belongs to a *thread*, so every closure runs on a thread of its own that enters, runs and ends; the
//! caller's thread never changes namespace and there is nothing to restore, even when the closure panics. The namespace
//! has no name in `/run/netns`: the kernel deletes it with its last descriptor, so a killed test leaves nothing behind.
//! The mount namespace stays the caller's, hence BPF file-system pins stay visible (unlike under `ip netns exec`).
//!
//! ```no_run
//! use slr_testkit::netns::NetNs;
//! let ns = NetNs::new().unwrap();
//! ns.ip("link add va type veth peer name vb").unwrap();
//! let loopback = ns.with(|| std::net::TcpListener::bind("127.0.0.1:80").unwrap()); // a socket of that namespace
//! ```

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A handle on a network namespace.
#[derive(Clone, Debug)]
pub struct NetNs {
    file: Arc<File>,
}

impl NetNs {
    /// Makes a fresh namespace with its loopback interface up. Needs root.
    pub fn new() -> Result<Self> {
        let file = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET): a network namespace needs root")?;
            File::open("/proc/thread-self/ns/net").context("open the new network namespace")
        })?;
        let ns = Self { file: Arc::new(file) };
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// Opens a namespace by its file, such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).with_context(|| format!("open network namespace {}", path.display()))?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Runs `f` inside the namespace, on a thread of its own, and returns what it returns. A panic passes on to the caller.
    ///
    /// # Panics
    /// If the namespace cannot be entered (not root).
    pub fn with<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let file = &*self.file;
        on_thread(move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("setns into a network namespace needs root");
            f()
        })
    }

    /// A command that will run inside the namespace.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        enter_before_exec(&mut command, Arc::clone(&self.file), None);
        command
    }

    /// Runs one `ip` command line, given without the leading `ip`.
    pub fn ip(&self, line: &str) -> Result<()> {
        self.ip_batch(line)
    }

    /// Runs many `ip` command lines, one per line, with one process. Stops at the first that fails and names it.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        run_ip_batch(self.command("ip"), lines)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Feeds `lines` to `ip -batch -`, prepared in `command`.
pub(crate) fn run_ip_batch(mut command: Command, lines: &str) -> Result<()> {
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start ip (Debian package iproute2)")?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // An error here means that ip ended early; its own words, below, say why.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("wait for ip")?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let number = words.rsplit(':').next().and_then(|tail| tail.trim().parse::<usize>().ok());
    let line = number.and_then(|n| lines.lines().nth(n.checked_sub(1)?)).unwrap_or("");
    bail!("`ip {line}` failed: {}", words.trim())
}

/// Makes `command` enter a network namespace, and optionally a cgroup (its open `cgroup.procs`), before it becomes its program.
pub(crate) fn enter_before_exec(command: &mut Command, netns: Arc<File>, cgroup_procs: Option<File>) {
    let enter = move || {
        setns(&*netns, CloneFlags::CLONE_NEWNET)?;
        // A caller that waits for its signals on a thread blocks them everywhere else; that is not to be inherited.
        SigSet::empty().thread_set_mask()?;
        if let Some(procs) = &cgroup_procs {
            // "0" stands for the writing process, so no number has to be formatted between fork and exec.
            nix::unistd::write(procs, b"0")?;
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "no safe call changes a child's namespace and cgroup before it opens its first socket"
    )]
    // SAFETY: the closure runs between fork and exec and makes three system calls (setns, sigprocmask, write) with
    // descriptors that it owns; it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(enter);
    }
}

/// Runs `f` on a thread of its own and waits for it.
fn on_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| match scope.spawn(f).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
