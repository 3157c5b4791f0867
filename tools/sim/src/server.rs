//! A host as a server that shares its processor: *n* requests at once, each served at an *n*th of its speed.
//!
//! Kept by virtual time, which advances at speed/*n*: a request of size *s* that comes at virtual time *v* is done at
//! *v* + *s*, whoever else comes and goes.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Requests at once, at most: what a listener and its workers would take. More are refused.
const REQUESTS_MAX: usize = 20_000;

/// A server, its requests and the time it was busy. Times in seconds.
pub struct Server {
    speed: f64,
    virtual_time: f64,
    updated_at: f64,
    busy_s: f64,
    /// By virtual time of completion.
    requests: BinaryHeap<Reverse<Request>>,
    /// Counts changes: an event that was planned before one is void.
    pub version: u64,
}

/// A request at work.
#[derive(Clone, Copy, PartialEq)]
struct Request {
    done_at: f64,
    flow: usize,
}

impl Eq for Request {}

impl Ord for Request {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.done_at.total_cmp(&other.done_at).then(self.flow.cmp(&other.flow))
    }
}

impl PartialOrd for Request {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Server {
    /// An idle server that does this many seconds of work a second.
    pub fn new(speed: f64) -> Self {
        Self { speed, virtual_time: 0.0, updated_at: 0.0, busy_s: 0.0, requests: BinaryHeap::new(), version: 0 }
    }

    /// Work a second.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Changes the speed: a neighbour takes its processor, or leaves it.
    pub fn set_speed(&mut self, now: f64, speed: f64) {
        self.advance(now);
        self.speed = speed;
        self.version += 1;
    }

    /// Takes a request of this many seconds of work. `false`: there are too many.
    pub fn accept(&mut self, now: f64, flow: usize, work_s: f64) -> bool {
        self.advance(now);
        if self.requests.len() >= REQUESTS_MAX {
            return false;
        }
        self.requests.push(Reverse(Request { done_at: self.virtual_time + work_s, flow }));
        self.version += 1;
        true
    }

    /// When the next request will be done, if none comes before.
    pub fn next_done(&self) -> Option<f64> {
        let Reverse(first) = self.requests.peek()?;
        let each = self.speed / self.requests.len() as f64;
        Some(self.updated_at + (first.done_at - self.virtual_time).max(0.0) / each)
    }

    /// The request that is done now: its flow.
    pub fn finish(&mut self, now: f64) -> Option<usize> {
        self.advance(now);
        self.version += 1;
        self.requests.pop().map(|Reverse(request)| request.flow)
    }

    /// Drops all requests: the host lost its power. Their flows.
    pub fn clear(&mut self, now: f64) -> Vec<usize> {
        self.advance(now);
        self.version += 1;
        self.requests.drain().map(|Reverse(request)| request.flow).collect()
    }

    /// Seconds it was busy, ever.
    pub fn busy_s(&mut self, now: f64) -> f64 {
        self.advance(now);
        self.busy_s
    }

    fn advance(&mut self, now: f64) {
        let elapsed = (now - self.updated_at).max(0.0);
        if !self.requests.is_empty() {
            self.virtual_time += elapsed * self.speed / self.requests.len() as f64;
            self.busy_s += elapsed;
        }
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_requests_share_and_the_rest_speeds_up() {
        let mut server = Server::new(2.0);
        assert!(server.accept(0.0, 1, 2.0));
        assert!(server.accept(0.5, 2, 1.0));
        // The first has 1 s of work left at 0.5; both get a speed of 1 until they are done together at 1.5.
        assert_eq!(server.next_done(), Some(1.5));
        assert_eq!((server.finish(1.5), server.finish(1.5)), (Some(1), Some(2)));
        assert_eq!((server.next_done(), server.busy_s(4.0)), (None, 1.5));
    }

    #[test]
    fn a_slower_server_takes_longer() {
        let mut server = Server::new(1.0);
        assert!(server.accept(0.0, 7, 1.0));
        server.set_speed(0.5, 0.25);
        assert_eq!(server.next_done(), Some(2.5));
    }
}
