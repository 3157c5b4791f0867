//! A way that takes time: datagrams between the two routers, each as much later.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use slr_testkit::netns::NetNs;

/// How often a thread looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest datagram.
const LEN_MAX: usize = 2_048;
/// Datagrams under way in a direction: a second of 30 MB/s. What is more is lost, as in any queue.
const UNDER_WAY_MAX: usize = 25_000;

/// Ends with the value.
pub struct Relay {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One direction: what arrives at `from` leaves from `to`.
struct Direction {
    from: UdpSocket,
    to: UdpSocket,
    /// Whom it leaves to.
    target: Arc<Mutex<Option<SocketAddr>>>,
    /// Where it came from, for the other direction.
    source: Option<Arc<Mutex<Option<SocketAddr>>>>,
    one_way: Duration,
}

impl Relay {
    /// Takes datagrams at `listen` in this namespace, for `server`.
    pub fn start(ns: &NetNs, listen: &str, server: &str, one_way: Duration) -> Result<Self> {
        let bind = |address: &str| UdpSocket::bind(address).with_context(|| format!("bind {address}"));
        let (near, far) = ns.with(|| anyhow::Ok((bind(listen)?, bind("10.1.0.9:0")?)))?;
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(Duration::from_millis(1)))?;
        }
        let (client, server) = (Arc::default(), Arc::new(Mutex::new(Some(server.parse()?))));
        let there = Direction {
            from: near.try_clone()?,
            to: far.try_clone()?,
            target: server,
            source: Some(Arc::clone(&client)),
            one_way,
        };
        let back = Direction { from: far, to: near, target: client, source: None, one_way };
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = [there, back].into_iter().map(|direction| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || direction.run(&is_over))
        });
        Ok(Self { threads: threads.collect(), is_over })
    }
}

impl Direction {
    fn run(&self, is_over: &AtomicBool) {
        let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let (mut buffer, mut looked) = ([0; LEN_MAX], Instant::now());
        loop {
            match self.from.recv_from(&mut buffer) {
                Ok((len, source)) => {
                    if let Some(known) = &self.source {
                        *known.lock().expect("nobody panics with it") = Some(source);
                    }
                    if under_way.len() < UNDER_WAY_MAX {
                        under_way.push_back((Instant::now() + self.one_way, buffer[..len].to_vec()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Nobody listens at the other end yet.
                Err(_) => {}
            }
            let target = *self.target.lock().expect("nobody panics with it");
            while under_way.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                let datagram = under_way.pop_front().map(|(_, datagram)| datagram).unwrap_or_default();
                if let Some(target) = target {
                    // Lost, as anything may be.
                    let _ = self.to.send_to(&datagram, target);
                }
            }
            if looked.elapsed() > LOOK_EVERY {
                looked = Instant::now();
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
