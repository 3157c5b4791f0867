//! New flows at a steady rate, whatever becomes of the earlier ones: a request each, on a connection of its own. Unlike
//! requests that wait for one another, they do not become fewer when a server stops to answer.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::site::{Site, VIRTUAL};

/// From one knock to the next; families take turns.
const EVERY: Duration = Duration::from_millis(20);
/// A knock is over after this; a SYN that was lost has been sent again by then.
const PATIENCE: Duration = Duration::from_millis(1_900);
/// Each knocks in turn. So many that each has done with one knock when its next is due.
const WORKERS: u32 = 100;
const STACK_BYTES: usize = 128 * 1024;

/// Knocking.
#[derive(Debug)]
pub struct Knocks {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Vec<Knock>>>,
}

/// A new flow.
#[derive(Clone, Debug)]
pub struct Knock {
    /// When it was begun.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// Status and host that answered, or what went wrong.
    pub answer: Result<(u16, String), String>,
}

impl Knocks {
    /// From the client c1 to nginx.
    pub fn start(site: &Site) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let begin = Instant::now();
        let spawn = |n| {
            let stop = Arc::clone(&stop);
            // A thread has the namespace of the thread that starts it.
            Builder::new().stack_size(STACK_BYTES).spawn(move || work(n, begin, &stop)).context("start a thread")
        };
        let workers = site.lab().with_netns("c1", || (0..WORKERS).map(spawn).collect::<Result<_>>())??;
        Ok(Self { stop, workers })
    }

    /// Stop, and say what came of them, in order.
    pub fn stop(self) -> Vec<Knock> {
        self.stop.store(true, Ordering::Relaxed);
        let done = self.workers.into_iter().flat_map(|worker| worker.join().expect("no worker panics"));
        let mut knocks: Vec<Knock> = done.collect();
        knocks.sort_by_key(|knock| knock.at);
        knocks
    }
}

impl Knock {
    /// Whether it was served.
    pub fn is_served(&self) -> bool {
        self.answer.as_ref().is_ok_and(|(status, _)| *status == 200)
    }
}

fn work(n: u32, begin: Instant, stop: &AtomicBool) -> Vec<Knock> {
    let target = SocketAddr::new(VIRTUAL[n as usize % 2].parse::<IpAddr>().expect("an address"), 80);
    let mut knocks = Vec::new();
    let mut due = begin + EVERY * n;
    loop {
        sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            return knocks;
        }
        let at = Instant::now();
        let answer = knock(target, at + PATIENCE).map_err(|error| format!("{error:#}"));
        knocks.push(Knock { at, took: at.elapsed(), answer });
        due += EVERY * WORKERS;
    }
}

fn knock(target: SocketAddr, deadline: Instant) -> Result<(u16, String)> {
    // A timeout of zero would be none.
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&target, left()).context("connect")?;
    stream.write_all(b"GET /who HTTP/1.0\r\nHost: site\r\n\r\n").context("ask")?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left())).context("set a timeout")?;
        match stream.read(&mut piece).context("hear")? {
            0 => break,
            len => answer.extend(&piece[..len]),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.split_whitespace().nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let server = text.lines().find_map(|line| line.strip_prefix("X-Served-By: ")).context("nobody's name")?;
    Ok((status, server.to_owned()))
}
