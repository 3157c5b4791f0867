//! A router in the least words: what the gateway's clients send to virtual addresses comes out of a TUN interface, gets an
//! outer header and goes to the host through a raw socket. The way back is the host's own.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use slr_testkit::packet::pkt;
use socket2::{Domain, Protocol, Socket, Type};

/// Tunnels until dropped.
pub struct Tunneller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Sends datagrams with headers of their own.
pub struct RawSender {
    v4: Socket,
    v6: Socket,
}

impl RawSender {
    /// In the current network namespace.
    pub fn new() -> io::Result<Self> {
        let raw = Protocol::from(libc::IPPROTO_RAW);
        Ok(Self {
            v4: Socket::new(Domain::IPV4, Type::RAW, Some(raw))?,
            v6: Socket::new(Domain::IPV6, Type::RAW, Some(raw))?,
        })
    }

    /// Puts `datagram` into a tunnel from one address to another and sends it.
    pub fn tunnel(&self, source: IpAddr, destination: IpAddr, datagram: &[u8]) -> io::Result<()> {
        let number = if datagram[0] >> 4 == 4 { 4 } else { 41 };
        let outer = pkt().ip(source, destination).next(number).payload(datagram).build();
        let socket = if destination.is_ipv4() { &self.v4 } else { &self.v6 };
        socket.send_to(&outer, &SocketAddr::new(destination, 0).into()).map(drop)
    }
}

impl Tunneller {
    /// Makes the interface in the current network namespace and starts. The namespace stays the thread's. The name must be
    /// a new one: a child that another test is just starting may hold the old interface for a moment longer.
    pub fn start(interface: &str, source: IpAddr, destination: IpAddr) -> io::Result<Self> {
        let mut tun = open_tun(interface)?;
        let sender = RawSender::new()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut datagram = vec![0; 65536];
            while !stopped.load(Ordering::Relaxed) {
                let mut wait = [PollFd::new(tun.as_fd(), PollFlags::POLLIN)];
                if poll(&mut wait, PollTimeout::from(50u8)).expect("poll") == 0 {
                    continue;
                }
                let len = tun.read(&mut datagram).expect("read from TUN");
                // The interface's own multicast (MLD, router solicitations) is no client's.
                let multicast = datagram[0] >> 4 == 6 && datagram[24] == 0xff;
                if !multicast {
                    // Too large for the link, as while a path MTU is learned: lost, like on any link.
                    let _ = sender.tunnel(source, destination, &datagram[..len]);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Tunneller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("joined once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the tunneller failed");
    }
}

nix::ioctl_write_ptr_bad!(tunsetiff, nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()), libc::ifreq);

fn open_tun(interface: &str) -> io::Result<File> {
    assert!(interface.len() < libc::IFNAMSIZ);
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    #[expect(unsafe_code, reason = "TUNSETIFF has no safe wrapper")]
    // SAFETY: ifreq is plain data for which zeros are valid; the name is shorter than its field, so it stays terminated,
    // and the request outlives the call.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
        tunsetiff(tun.as_raw_fd(), &request)?;
    }
    Ok(tun)
}
