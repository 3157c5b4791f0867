//! Requests at a stated rate, whatever the answers' pace: clients who do not know how busy the servers are.
//!
//! Each of many clients begins a request, on a connection of its own, at moments that were set beforehand; one whose answer
//! is late begins the next at once when it has come. With enough of them the rate holds while servers are seconds behind.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use slr_testkit::lab::Lab;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// A client's thread calls nothing that needs more.
const STACK_BYTES: usize = 128 * 1024;
/// How long a client sleeps at most before it looks whether the rate has changed.
const NAP: Duration = Duration::from_millis(200);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Requests a second are kept in thousandths.
const MILLI: f64 = 1_000.0;

/// A request that was answered, or not.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it began, since the clients did.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Who answered, or what went wrong.
    pub answer: Result<String, String>,
}

/// Clients at work.
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    start: Instant,
    ends: AtomicBool,
    rate_milli: AtomicU64,
    clients: usize,
    targets: Vec<IpAddr>,
    path: String,
    done: Mutex<Vec<Request>>,
}

impl Clients {
    /// So many clients on a node begin `rate` requests a second, all together, to the targets in turn.
    pub fn start(lab: &Lab, node: &str, targets: &[&str], path: &str, clients: usize, rate: f64) -> Result<Self> {
        let targets = targets.iter().map(|target| target.parse().context("an address")).collect::<Result<_>>()?;
        let shared = Arc::new(Shared {
            start: Instant::now(),
            ends: AtomicBool::new(false),
            rate_milli: AtomicU64::new((rate * MILLI) as u64),
            clients,
            targets,
            path: path.to_owned(),
            done: Mutex::default(),
        });
        // Threads are where the thread that starts them is.
        let start_all = || {
            let start_one = |number| {
                let shared = Arc::clone(&shared);
                thread::Builder::new().stack_size(STACK_BYTES).spawn(move || shared.be_client(number))
            };
            (0..clients).map(start_one).collect::<std::io::Result<Vec<_>>>()
        };
        let threads = lab.with_netns(node, start_all)?.context("start clients")?;
        Ok(Self { shared, threads })
    }

    /// When the clients began.
    pub fn began(&self) -> Instant {
        self.shared.start
    }

    /// Another rate from now on.
    pub fn set_rate(&self, rate: f64) {
        self.shared.rate_milli.store((rate * MILLI) as u64, Ordering::Relaxed);
    }

    /// Begin no more, and wait for the answers that are owed.
    pub fn stop(self) -> Result<Vec<Request>> {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                bail!("a client panicked");
            }
        }
        let mut done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|request| request.began);
        Ok(std::mem::take(&mut done))
    }
}

impl Shared {
    fn be_client(&self, number: usize) {
        // Clients' turns are spread over the time that a round of all of them takes.
        let mut turn = number as f64 / self.clients as f64;
        let mut at = self.start;
        let mut count = number;
        loop {
            let round_s = self.clients as f64 * MILLI / self.rate_milli.load(Ordering::Relaxed) as f64;
            let wait = Duration::from_secs_f64(turn * round_s);
            if self.ends.load(Ordering::Relaxed) {
                return;
            }
            let left = (at + wait).saturating_duration_since(Instant::now());
            if left > NAP {
                // The rate may change meanwhile: what has passed counts by the rate it passed at.
                thread::sleep(NAP);
                turn = (turn - NAP.as_secs_f64() / round_s).max(0.0);
                at += NAP;
                continue;
            }
            thread::sleep(left);
            at += wait;
            self.ask(self.targets[count % self.targets.len()]);
            count += 1;
            // Turns that were missed are not made up for: a late client would become a burst.
            at = at.max(Instant::now() - Duration::from_secs_f64(round_s));
            turn = 1.0;
        }
    }

    fn ask(&self, target: IpAddr) {
        let began = self.start.elapsed();
        let answer = request(target, &self.path).map_err(|error| format!("{error:#}"));
        let took = self.start.elapsed() - began;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(Request { began, took, answer });
    }
}

/// One request on a connection of its own; who answered.
fn request(target: IpAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(target, 80), PATIENCE).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {target}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
        .context("ask")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).context("read the answer")?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    if !head.starts_with("HTTP/1.1 200 ") || body.is_empty() {
        bail!("answer: {}", head.lines().next().unwrap_or_default());
    }
    let server = head.lines().find_map(|line| line.strip_prefix("X-Served-By: "));
    Ok(server.context("an answer that does not name its server")?.to_owned())
}
