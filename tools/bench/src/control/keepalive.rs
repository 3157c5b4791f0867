//! Answers keepalives for a range of tunnel addresses, in hostd's place.
//!
//! hostd's XDP program has one tunnel address of each family; a thousand hosts would need as many interfaces. So the
//! questions are taken from raw sockets, which get every tunnel packet of the namespace, and turned round here as
//! `host_keepalive.h` does: addresses, ports, kind. To the router the difference is some tens of microseconds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, Socket, Type};

/// A keepalive is about a hundred bytes; a longer packet is none.
const PACKET_MAX: usize = 256;
/// Questions that wait: all of a thousand hosts', and then some.
const BUFFER_BYTES: usize = 4 << 20;
/// Raw sockets of this protocol send whole datagrams.
const IPPROTO_RAW: i32 = 255;
const UDP: u8 = 17;
const UDP_LEN: usize = 8;
const BODY_LEN: usize = 24;
const PORT: u16 = 6101;
const MAGIC: &[u8] = b"SLRK\x01";
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// Starts a thread for each family, which live as long as the process; counts what they answered.
pub fn answer() -> Result<Arc<AtomicU64>> {
    let answered = Arc::new(AtomicU64::new(0));
    for (domain, tunnel, name) in [(Domain::IPV4, 4, "answers-v4"), (Domain::IPV6, 41, "answers-v6")] {
        let questions = Socket::new(domain, Type::RAW, Some(Protocol::from(tunnel)))
            .context("raw socket for questions; it needs CAP_NET_RAW")?;
        questions.set_recv_buffer_size(BUFFER_BYTES)?;
        let answers = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
        let count = answered.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&questions, &answers, &count))?;
    }
    Ok(answered)
}

fn serve(questions: &Socket, answers: &Socket, count: &AtomicU64) {
    let mut packet = [0; PACKET_MAX];
    loop {
        let len = match recv(questions.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(len) => len,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return eprintln!("keepalives are not answered any more: {error}"),
        };
        let is_v4 = questions.domain().is_ok_and(|domain| domain == Domain::IPV4);
        // An IPv4 raw socket gives the tunnel's header as well (raw(7)), an IPv6 one does not (RFC 3542 3).
        let content = if is_v4 { outer_v4(&packet[..len]) } else { Some(0) };
        let Some(content) = content.and_then(|at| packet.get_mut(at..len)) else { continue };
        if let Some(to) = turn(content)
            && send(answers, content, to).is_ok()
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn send(answers: &Socket, datagram: &[u8], to: IpAddr) -> io::Result<usize> {
    answers.send_to(datagram, &SocketAddr::new(to, 0).into())
}

/// Where the content of an IPv4 tunnel packet begins.
fn outer_v4(packet: &[u8]) -> Option<usize> {
    Some(usize::from(packet.first()? & 0xf) * 4)
}

/// Makes a question the answer to it; whom it is for, or `None` if it is no question.
fn turn(datagram: &mut [u8]) -> Option<IpAddr> {
    let (header, to) = match datagram.first()? >> 4 {
        4 => (20, IpAddr::from(<Ipv4Addr>::from(<[u8; 4]>::try_from(datagram.get(12..16)?).ok()?))),
        6 => (40, IpAddr::from(<Ipv6Addr>::from(<[u8; 16]>::try_from(datagram.get(8..24)?).ok()?))),
        _ => return None,
    };
    let upper = *datagram.get(if header == 20 { 9 } else { 6 })?;
    if upper != UDP || datagram.len() != header + UDP_LEN + BODY_LEN {
        return None;
    }
    let (ip, udp) = datagram.split_at_mut(header);
    let (ports, body) = (u16::from_be_bytes([udp[2], udp[3]]), &mut udp[UDP_LEN..]);
    if ports != PORT || !body.starts_with(MAGIC) || body[5] != REQUEST {
        return None;
    }
    body[5] = REPLY;
    let (first, len) = if header == 20 { (12, 4) } else { (8, 16) };
    let (from, back) = ip[first..first + 2 * len].split_at_mut(len);
    from.swap_with_slice(back);
    let (source, destination) = udp[..4].split_at_mut(2);
    source.swap_with_slice(destination);
    // Sums do not see a swap; the kind has grown by one, in the low byte of its word (RFC 1624).
    let sum = u32::from(!u16::from_be_bytes([udp[6], udp[7]])) + u32::from(REPLY - REQUEST);
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    // RFC 768: zero would say "no sum".
    udp[6..8].copy_from_slice(&if folded == 0 { 0xffff } else { folded }.to_be_bytes());
    Some(to)
}

#[cfg(test)]
mod tests {
    use slr_testkit::packet::{pkt, verify_checksums};

    use super::*;

    /// Without the link header that the packet builder puts in front when asked for checksums.
    fn question(from: &str, to: &str, kind: u8) -> Vec<u8> {
        let mut body = *b"SLRK\x01\x01\0\0\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\0";
        body[5] = kind;
        pkt().ip(from.parse().unwrap(), to.parse().unwrap()).udp(9_000, PORT).payload(body).build()
    }

    #[test]
    fn a_question_of_either_family_becomes_its_answer() {
        for (router, host, kind) in [("10.1.0.1", "10.20.0.7", [8, 0]), ("fd00:1::1", "fd00:20::7", [0x86, 0xdd])] {
            let mut datagram = question(router, host, REQUEST);
            assert_eq!(turn(&mut datagram), Some(router.parse().unwrap()));
            verify_checksums(&[&[0; 12][..], &kind, &datagram].concat()).unwrap();
            let at = datagram.len() - BODY_LEN;
            assert_eq!((datagram[at + 5], &datagram[at - 8..at - 4]), (REPLY, &[0x17, 0xd5, 0x23, 0x28][..]));
        }
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        assert_eq!(turn(&mut question("10.1.0.1", "10.20.0.7", REPLY)), None);
        let mut short = question("10.1.0.1", "10.20.0.7", REQUEST);
        short.truncate(40);
        assert_eq!(turn(&mut short), None);
        assert_eq!(turn(&mut []), None);
    }
}
