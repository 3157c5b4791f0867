//! The emulator's loop: one thread, one `ppoll` over all sockets, in the namespace that holds the emulator's ends.

use super::control::{DirectionReport, LinkReport, MESSAGE_BYTES_MAX, Reply, Request};
use super::moderation::Moderation;
use super::packet_socket::{BATCH, Frame, PacketSocket, Receiver, VNET_HEADER_LEN};
use super::pipe::Pipe;
use super::{Config, LinkConfig, PROTOCOL_VERSION, ShapeChange};
use crate::seed::Rng;
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Batches read from one interface before the others get their turn.
const BATCHES_PER_TURN: usize = 4;
/// Control connections at a time; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 16;

/// A link with its two directions; index 0 is the A end, 1 the B end, and `pipes[i]` carries what end `i` sends.
struct Link {
    nodes: [String; 2],
    ends: [PacketSocket; 2],
    pipes: [Pipe<Frame>; 2],
    /// Frames that each end has sent in the current window of [`Moderation`].
    frames_in_window: [usize; 2],
}

/// What the loop is woken for besides frames.
struct Control {
    listener: Socket,
    connections: Vec<Socket>,
    /// Becomes readable when the lab's owner ends.
    owner: Option<OwnedFd>,
}

/// Emulates the links of `config` until killed. `on_owner_death` runs once when the owner process ends; the loop goes on,
/// because whoever takes the lab down also ends this process.
pub fn run(config: &Config, mut on_owner_death: impl FnMut() -> Result<()>) -> Result<()> {
    if config.version != PROTOCOL_VERSION {
        bail!("slr-linkemu speaks version {PROTOCOL_VERSION}, the lab {}: rebuild it", config.version);
    }
    let mut rng = Rng::new(config.seed);
    let mut links = config.links.iter().map(|link| Link::open(link, &mut rng)).collect::<Result<Vec<_>>>()?;
    let mut control = Control::open(config)?;
    let mut receiver = Receiver::new();
    be_punctual();
    let mut moderation = Moderation::default();
    loop {
        if let Some(pause) = moderation.pause(Instant::now(), next_deadline(&links)) {
            std::thread::sleep(pause);
        }
        let (readable, owner_ended) = wait(&links, &control)?;
        let new_window = moderation.begin_turn(Instant::now());
        for (link, readable) in links.iter_mut().zip(&readable) {
            link.receive(*readable, &mut receiver, new_window);
            link.frames_in_window.iter().for_each(|frames| moderation.handle_frames(*frames));
        }
        let now = Instant::now();
        for link in &mut links {
            link.deliver(now);
        }
        control.serve(&mut links);
        if owner_ended {
            control.owner = None;
            on_owner_death()?;
        }
    }
}

/// Asks the scheduler to run us when a frame is due, also on a busy machine: tests load every core, and a wire that pauses
/// looks like a failure to whatever detects failures. (10 ms of delay with four busy loops on two cores, maximum of 300
/// pings: 23.9 ms as an ordinary process, 17.0 ms at nice -15, 10.9 ms in real time.) The loop never spins, and the
/// kernel's limit on real-time work keeps the rest alive.
fn be_punctual() {
    // The default timer slack of 50 µs would be added to every delay.
    let _ = nix::sys::prctl::set_timerslack(1);
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    #[expect(unsafe_code, reason = "scheduling classes have no safe wrapper")]
    // SAFETY: 0 is this process, and the pointer leads to a live sched_param.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        eprintln!("slr-linkemu: no real-time scheduling ({error}): delays will be longer while the machine is busy");
    }
}

/// Waits until a frame, a deadline, a request or the owner's end; says which interfaces have frames.
fn wait(links: &[Link], control: &Control) -> Result<(Vec<[bool; 2]>, bool)> {
    let ends = links.iter().flat_map(|link| &link.ends).map(AsFd::as_fd);
    let talks = std::iter::once(control.listener.as_fd()).chain(control.connections.iter().map(AsFd::as_fd));
    let fds = ends.chain(control.owner.iter().map(AsFd::as_fd)).chain(talks);
    let mut fds: Vec<PollFd> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout =
        next_deadline(links).map(|due| TimeSpec::from_duration(due.saturating_duration_since(Instant::now())));
    match ppoll(&mut fds, timeout, None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error).context("wait for frames"),
    }
    let ready = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
    let readable = fds[..links.len() * 2].chunks(2).map(|pair| [ready(&pair[0]), ready(&pair[1])]).collect();
    let owner_ended = control.owner.is_some() && ready(&fds[links.len() * 2]);
    Ok((readable, owner_ended))
}

fn next_deadline(links: &[Link]) -> Option<Instant> {
    links.iter().flat_map(|link| &link.pipes).filter_map(Pipe::poll_timeout).min()
}

impl Link {
    fn open(config: &LinkConfig, rng: &mut Rng) -> Result<Self> {
        let mut pipe = || Pipe::new(config.shape.clone(), Rng::new(rng.next_u64()));
        Ok(Self {
            nodes: [config.a.0.clone(), config.b.0.clone()],
            ends: [PacketSocket::open(&config.a.1)?, PacketSocket::open(&config.b.1)?],
            pipes: [pipe(), pipe()],
            frames_in_window: [0; 2],
        })
    }

    fn receive(&mut self, readable: [bool; 2], receiver: &mut Receiver, new_window: bool) {
        if new_window {
            self.frames_in_window = [0; 2];
        }
        for (end, _) in readable.iter().enumerate().filter(|(_, readable)| **readable) {
            let (socket, pipe) = (&self.ends[end], &mut self.pipes[end]);
            for _ in 0..BATCHES_PER_TURN {
                let now = Instant::now();
                let received =
                    receiver.receive(socket, |frame| pipe.handle_input(now, frame.len() - VNET_HEADER_LEN, frame));
                self.frames_in_window[end] += received;
                if received < BATCH {
                    break;
                }
            }
        }
    }

    fn deliver(&mut self, now: Instant) {
        for (end, pipe) in self.pipes.iter_mut().enumerate() {
            let mut arrived: Vec<Frame> = Vec::new();
            let mut bytes = 0;
            while let Some(frame) = pipe.poll_output(now) {
                bytes += (frame.len() - VNET_HEADER_LEN) as u64;
                arrived.push(frame);
            }
            if arrived.is_empty() {
                continue;
            }
            let refused = self.ends[1 - end].send(&arrived);
            if refused > 0 {
                let counters = pipe.counters_mut();
                counters.send_failed += refused;
                counters.frames -= refused;
                // Which frames were refused is not kept; frames of one batch are taken as of average size.
                counters.bytes -= bytes * refused / arrived.len() as u64;
            }
        }
    }

    fn change(&mut self, now: Instant, from: Option<&str>, change: &ShapeChange) -> Result<(), String> {
        if change.loss.is_some_and(|loss| !(0.0..=1.0).contains(&loss)) {
            return Err("a loss is between 0 and 1 (0 and 100 %)".to_owned());
        }
        if let Some(node) = from.filter(|node| !self.nodes.iter().any(|name| name == node)) {
            return Err(format!("{node} is not an end of the link {}-{}", self.nodes[0], self.nodes[1]));
        }
        for (node, pipe) in self.nodes.iter().zip(&mut self.pipes) {
            if from.is_none_or(|from| from == node) {
                pipe.set_shape(now, change.applied_to(pipe.shape()));
            }
        }
        Ok(())
    }

    fn report(&mut self) -> LinkReport {
        for (socket, pipe) in self.ends.iter().zip(&mut self.pipes) {
            pipe.counters_mut().not_read += socket.take_kernel_drops();
        }
        let [a_to_b, b_to_a] = [0, 1].map(|end| DirectionReport {
            shape: self.pipes[end].shape().clone(),
            counters: self.pipes[end].counters(),
        });
        LinkReport { a: self.nodes[0].clone(), b: self.nodes[1].clone(), a_to_b, b_to_a }
    }
}

impl Control {
    fn open(config: &Config) -> Result<Self> {
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        listener.set_nonblocking(true)?;
        listener
            .bind(&SockAddr::unix(&config.socket)?)
            .with_context(|| format!("bind the control socket {}", config.socket.display()))?;
        listener.listen(8)?;
        let owner = config.owner.map(pidfd).transpose()?;
        Ok(Self { listener, connections: Vec::new(), owner })
    }

    /// Accepts, answers and forgets, without ever waiting for a client.
    fn serve(&mut self, links: &mut [Link]) {
        while self.connections.len() < CONNECTIONS_MAX {
            let Ok((connection, _)) = self.listener.accept() else { break };
            if connection.set_nonblocking(true).is_ok() {
                self.connections.push(connection);
            }
        }
        if self.connections.is_empty() {
            return;
        }
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        self.connections.retain_mut(|connection| match connection.read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                serde_json::to_vec(&answer(links, &buffer[..len])).is_ok_and(|reply| connection.send(&reply).is_ok())
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
    }
}

fn answer(links: &mut [Link], request: &[u8]) -> Reply {
    let done = match serde_json::from_slice(request) {
        Ok(Request::Show) => Ok(()),
        Ok(Request::Change { a, b, from, change }) => {
            let now = Instant::now();
            let connects = |link: &&mut Link| link.nodes == [&*a, &*b] || link.nodes == [&*b, &*a];
            match links.iter_mut().find(connects) {
                Some(link) => link.change(now, from.as_deref(), &change),
                None => Err(format!("no emulated link between {a} and {b}")),
            }
        }
        Err(error) => Err(format!("request not understood: {error}")),
    };
    Reply { version: PROTOCOL_VERSION, links: done.map(|()| links.iter_mut().map(Link::report).collect()) }
}

/// A descriptor that becomes readable when process `pid` ends.
fn pidfd(pid: u32) -> Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    #[expect(unsafe_code, reason = "pidfd_open has no wrapper in the standard library or nix")]
    // SAFETY: the call takes two integers; a descriptor that it returns is new and ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0 as libc::c_long);
        if fd < 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("watch the lab's owner, process {pid}"));
        }
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor")))
    }
}
