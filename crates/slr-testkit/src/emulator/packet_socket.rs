//! The socket edge: whole frames in and out of one interface, many per system call.
//!
//! `PACKET_VNET_HDR` carries partial checksums and GSO sizes through unchanged, `PACKET_IGNORE_OUTGOING` keeps our own
//! frames from coming back. The kernel takes an outermost VLAN tag out of a received frame and reports it beside the
//! frame (`PACKET_AUXDATA`); it is put back, because a wire has no side channel.

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{from_ref, null_mut};

/// Frames per system call: enough to spread its cost, few enough that the first waits only microseconds for the last.
pub(super) const BATCH: usize = 64;
/// `struct virtio_net_hdr`, in front of every frame.
pub(super) const VNET_HEADER_LEN: usize = 10;
/// The largest GSO frame with Ethernet header, a VLAN tag and the virtio header.
const BUFFER_LEN: usize = VNET_HEADER_LEN + 18 + 65_536;
/// What the kernel may hold for us while we are not scheduled: over 10,000 small frames.
const RECEIVE_BUFFER_BYTES: libc::c_int = 16 << 20;
/// Room for one `tpacket_auxdata` control message, in 8-byte words for alignment.
const CONTROL_WORDS: usize = 8;
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;

/// A frame with its virtio header in front.
pub(super) type Frame = Box<[u8]>;

/// A raw packet socket bound to one interface.
pub(super) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on `interface` of the current network namespace.
    pub(super) fn open(interface: &str) -> Result<Self> {
        let index = if_nametoindex(interface).with_context(|| format!("interface {interface} of the emulator"))?;
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        #[expect(unsafe_code, reason = "no safe wrapper opens AF_PACKET with a protocol")]
        // SAFETY: socket() takes integers; a descriptor that it returns is new and ours. Protocol 0 receives nothing
        // until bind() names the interface, so no frame of another interface slips in.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_PACKET, kind, 0);
            check(fd).context("open a packet socket")?;
            OwnedFd::from_raw_fd(fd)
        };
        let socket = Self { fd };
        for (level, option, value) in [
            (libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1),
            (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
            (libc::SOL_PACKET, libc::PACKET_AUXDATA, 1),
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES),
        ] {
            socket.set_option(level, option, value).with_context(|| format!("packet socket option {option}"))?;
        }
        socket
            .bind(i32::try_from(index).context("interface index")?)
            .with_context(|| format!("bind to {interface}"))?;
        Ok(socket)
    }

    fn set_option(&self, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
        let len = u32::try_from(size_of::<libc::c_int>()).expect("four");
        #[expect(unsafe_code, reason = "packet socket options have no safe wrapper")]
        // SAFETY: the pointer and length describe `value`, which lives through the call.
        let result = unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, from_ref(&value).cast(), len) };
        check(result)
    }

    fn bind(&self, interface_index: i32) -> io::Result<()> {
        #[expect(unsafe_code, reason = "no safe wrapper binds a packet socket")]
        // SAFETY: sockaddr_ll is plain integers, for which all zeros are valid; pointer and length describe it.
        let result = unsafe {
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = u16::try_from(libc::AF_PACKET).expect("a small constant");
            address.sll_protocol = u16::try_from(libc::ETH_P_ALL).expect("a small constant").to_be();
            address.sll_ifindex = interface_index;
            let len = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("a small struct");
            libc::bind(self.fd.as_raw_fd(), from_ref(&address).cast(), len)
        };
        check(result)
    }

    /// Frames the kernel dropped since the last call because we read too slowly.
    pub(super) fn take_kernel_drops(&self) -> u64 {
        let mut stats = [0_u32; 2]; // struct tpacket_stats: packets, drops
        let mut len = u32::try_from(size_of::<[u32; 2]>()).expect("eight");
        #[expect(unsafe_code, reason = "PACKET_STATISTICS has no safe wrapper")]
        // SAFETY: pointer and length describe `stats`; the kernel writes at most `len` bytes.
        let result = unsafe {
            let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
            libc::getsockopt(self.fd.as_raw_fd(), level, option, stats.as_mut_ptr().cast(), &raw mut len)
        };
        if result == 0 { u64::from(stats[1]) } else { 0 }
    }

    /// Sends frames in order and returns how many of them the kernel refused.
    pub(super) fn send(&self, frames: &[Frame]) -> u64 {
        let mut refused = 0;
        for batch in frames.chunks(BATCH) {
            let mut iovecs: Vec<libc::iovec> = batch.iter().map(|frame| iovec(frame)).collect();
            let mut headers: Vec<libc::mmsghdr> = iovecs.iter_mut().map(message).collect();
            let mut sent = 0;
            while sent < headers.len() {
                let rest = &mut headers[sent..];
                let count = u32::try_from(rest.len()).expect("at most BATCH");
                #[expect(unsafe_code, reason = "sendmmsg with prepared vectors")]
                // SAFETY: every header points at an iovec and every iovec at a frame, all alive until after the loop.
                let result = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
                match usize::try_from(result) {
                    Ok(n) if n > 0 => sent += n,
                    // The first of the rest was refused: too long, interface down, or no memory. A wire does not retry.
                    _ => {
                        refused += 1;
                        sent += 1;
                    }
                }
            }
        }
        refused
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Buffers for receiving, shared by all sockets of a loop.
pub(super) struct Receiver {
    buffers: Vec<Box<[u8]>>,
    controls: Vec<[u64; CONTROL_WORDS]>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        let buffers = (0..BATCH).map(|_| vec![0; BUFFER_LEN].into_boxed_slice()).collect();
        Self { buffers, controls: vec![[0; CONTROL_WORDS]; BATCH] }
    }

    /// Receives up to [`BATCH`] frames without waiting and hands each to `take`; returns how many there were.
    pub(super) fn receive(&mut self, socket: &PacketSocket, mut take: impl FnMut(Frame)) -> usize {
        let mut iovecs: Vec<libc::iovec> = self.buffers.iter().map(|buffer| iovec(buffer)).collect();
        let mut headers: Vec<libc::mmsghdr> = iovecs.iter_mut().map(message).collect();
        for (header, control) in headers.iter_mut().zip(&mut self.controls) {
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
        }
        let count = u32::try_from(headers.len()).expect("BATCH");
        let flags = libc::MSG_DONTWAIT;
        #[expect(unsafe_code, reason = "recvmmsg with prepared vectors")]
        // SAFETY: every header points at an iovec and a control buffer of the stated sizes, all owned by `self` or this
        // frame and untouched by others during the call. A null timeout means none.
        let result = unsafe { libc::recvmmsg(socket.fd.as_raw_fd(), headers.as_mut_ptr(), count, flags, null_mut()) };
        // An error is "nothing there" or "interface down", and both pass.
        let received = usize::try_from(result).unwrap_or(0);
        for (header, buffer) in headers.iter().zip(&self.buffers).take(received) {
            let len = usize::try_from(header.msg_len).expect("a frame's length").min(BUFFER_LEN);
            take(with_vlan_tag(&buffer[..len], vlan_of(&header.msg_hdr)));
        }
        received
    }
}

/// The VLAN tag (TPID, TCI) that the kernel took out of a frame, if it did.
fn vlan_of(header: &libc::msghdr) -> Option<(u16, u16)> {
    #[expect(unsafe_code, reason = "control messages are read through pointers")]
    // SAFETY: the kernel filled the control buffer that `header` describes; CMSG_FIRSTHDR and CMSG_NXTHDR stay within
    // it, and the data is copied out unaligned only after its type says that it is a tpacket_auxdata.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = cmsg.as_ref() {
            if message.cmsg_level == libc::SOL_PACKET && message.cmsg_type == libc::PACKET_AUXDATA {
                let aux = libc::CMSG_DATA(cmsg).cast::<libc::tpacket_auxdata>().read_unaligned();
                let has_tag = aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
                let has_tpid = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
                return has_tag.then_some((if has_tpid { aux.tp_vlan_tpid } else { 0x8100 }, aux.tp_vlan_tci));
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
    }
    None
}

/// Copies a received frame, with its VLAN tag where the wire had it and the virtio offsets moved accordingly.
fn with_vlan_tag(received: &[u8], tag: Option<(u16, u16)>) -> Frame {
    const MACS_END: usize = VNET_HEADER_LEN + 12;
    let Some((tpid, tci)) = tag else { return received.into() };
    let Some((front, rest)) = received.split_at_checked(MACS_END) else { return received.into() };
    let mut frame = [front, &tpid.to_be_bytes(), &tci.to_be_bytes(), rest].concat();
    let needs_checksum = frame[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0;
    let is_gso = frame[1] != 0;
    // hdr_len at 2, csum_start at 6; both count from the start of the frame, in host order.
    for (at, moves) in [(2, is_gso), (6, needs_checksum)] {
        if moves {
            let value = u16::from_ne_bytes([frame[at], frame[at + 1]]).saturating_add(4);
            frame[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        }
    }
    frame.into()
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

fn message(iovec: &mut libc::iovec) -> libc::mmsghdr {
    #[expect(unsafe_code, reason = "a C struct with padding has no literal")]
    // SAFETY: mmsghdr is integers and pointers, for which zero and null are valid.
    let mut header: libc::mmsghdr = unsafe { zeroed() };
    header.msg_hdr.msg_iov = iovec;
    header.msg_hdr.msg_iovlen = 1;
    header
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_taken_out_by_the_kernel_is_put_back_and_the_offsets_follow() {
        let mut received = vec![0_u8; VNET_HEADER_LEN];
        received[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        received[6..8].copy_from_slice(&34_u16.to_ne_bytes());
        received.extend([[2_u8; 6], [4; 6]].concat());
        received.extend([8, 0, 0x45]);
        let frame = with_vlan_tag(&received, Some((0x88a8, 7)));
        assert_eq!(frame[22..29], [0x88, 0xa8, 0, 7, 8, 0, 0x45]);
        assert_eq!(frame[6..8], 38_u16.to_ne_bytes());
        assert_eq!(frame[2..4], [0, 0], "no GSO, no header length");
        assert_eq!(*with_vlan_tag(&received, None), *received);
    }
}
