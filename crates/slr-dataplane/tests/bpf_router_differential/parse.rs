//! The model's reading of a frame: slices and numbers, one header after the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use slr_dataplane::reason::RouterReason as R;

/// Further in than this the router reads no header.
const DEEPEST: usize = 511;
const EXT_HEADERS_MAX: usize = 6;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const IN_IP: [u8; 2] = [4, 41];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    No,
    First(u32),
    Later(u32),
}

/// What is known of a datagram.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub tos: u8,
    pub df: bool,
    pub fragment: Fragment,
    /// As its header says.
    pub len: usize,
    /// Where its IP header and its transport header are in the frame.
    pub l3: usize,
    pub l4: usize,
    /// Source and destination, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    pub tcp_flags: u8,
    pub seq: u32,
}

/// Why a frame could not be read to its end, and whom it was for as far as that is known.
pub struct Unreadable {
    pub reason: R,
    pub destination: Option<IpAddr>,
}

pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub fn v4(bytes: &[u8], at: usize) -> IpAddr {
    Ipv4Addr::from(long(bytes, at)).into()
}

pub fn v6(bytes: &[u8], at: usize) -> IpAddr {
    Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).expect("sixteen bytes")).into()
}

/// Length of the link header and the type of what follows; up to two tags.
pub fn link(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    for _ in 0..2 {
        let kind = frame.get(at..at + 2).map(|_| word(frame, at))?;
        if !matches!(kind, 0x8100 | 0x88a8) {
            break;
        }
        at += 4;
    }
    frame.get(at..at + 2).map(|_| (at + 2, word(frame, at)))
}

/// Read the datagram at `l3` of a type that [`link`] found.
pub fn datagram(frame: &[u8], l3: usize, kind: u16) -> Result<Datagram, Unreadable> {
    match kind {
        0x0800 => datagram_v4(frame, l3),
        0x86dd => datagram_v6(frame, l3),
        _ => Err(Unreadable { reason: R::PassNotIp, destination: None }),
    }
}

fn truncated() -> Unreadable {
    Unreadable { reason: R::PassTruncated, destination: None }
}

fn datagram_v4(frame: &[u8], l3: usize) -> Result<Datagram, Unreadable> {
    let packet = &frame[l3..];
    let header = packet.get(..20).ok_or_else(truncated)?;
    let flags = word(header, 6);
    let (id, offset) = (u32::from(word(header, 4)), flags & 0x1fff);
    let header_len = usize::from(header[0] & 15) * 4;
    let datagram = Datagram {
        source: v4(header, 12),
        destination: v4(header, 16),
        protocol: header[9],
        tos: header[1],
        df: flags & 0x4000 != 0,
        fragment: match (offset, flags & 0x2000) {
            (0, 0) => Fragment::No,
            (0, _) => Fragment::First(id),
            _ => Fragment::Later(id),
        },
        len: word(header, 2).into(),
        l3,
        l4: l3 + header_len,
        ports: None,
        tcp_flags: 0,
        seq: 0,
    };
    if header[0] >> 4 != 4 || header_len < 20 || datagram.len < header_len || datagram.len > packet.len() {
        return Err(Unreadable { reason: R::DropMalformedIp, destination: Some(datagram.destination) });
    }
    transport(frame, datagram)
}

fn datagram_v6(frame: &[u8], l3: usize) -> Result<Datagram, Unreadable> {
    let packet = &frame[l3..];
    let header = packet.get(..40).ok_or_else(truncated)?;
    let mut datagram = Datagram {
        source: v6(header, 8),
        destination: v6(header, 24),
        protocol: header[6],
        tos: (word(header, 0) >> 4) as u8,
        df: true,
        fragment: Fragment::No,
        len: usize::from(word(header, 4)) + 40,
        l3,
        l4: l3 + 40,
        ports: None,
        tcp_flags: 0,
        seq: 0,
    };
    let destination = Some(datagram.destination);
    if header[0] >> 4 != 6 || datagram.len > packet.len() {
        return Err(Unreadable { reason: R::DropMalformedIp, destination });
    }
    if !walk_extension_headers(&packet[..datagram.len], &mut datagram) {
        return Err(Unreadable { reason: R::DropExtHeaders, destination });
    }
    transport(frame, datagram)
}

/// False: too many, or one cut short.
fn walk_extension_headers(packet: &[u8], datagram: &mut Datagram) -> bool {
    let mut count = 0;
    while matches!(datagram.protocol, 0 | 43 | 44 | 60) {
        let at = datagram.l4 - datagram.l3;
        let Some(header) = packet.get(at..at + 8).filter(|_| count < EXT_HEADERS_MAX) else { return false };
        count += 1;
        let is_fragment = datagram.protocol == 44;
        datagram.protocol = header[0];
        datagram.l4 += if is_fragment { 8 } else { (usize::from(header[1]) + 1) * 8 };
        if datagram.l4 > DEEPEST || datagram.l4 - datagram.l3 > packet.len() {
            return false;
        }
        if is_fragment {
            let (place, id) = (word(header, 2), u32::from_ne_bytes(header[4..8].try_into().expect("four bytes")));
            if place & 0xfff8 != 0 {
                datagram.fragment = Fragment::Later(id);
                return true;
            }
            // A second fragment header makes no sense; what either says holds.
            if place & 1 != 0 || datagram.fragment != Fragment::No {
                datagram.fragment = Fragment::First(id);
            }
        }
    }
    true
}

fn transport(frame: &[u8], mut datagram: Datagram) -> Result<Datagram, Unreadable> {
    let body = &frame[datagram.l4..datagram.l3 + datagram.len];
    if matches!(datagram.fragment, Fragment::Later(_)) {
        return Ok(datagram);
    }
    let whole = datagram.fragment == Fragment::No;
    let sound = match datagram.protocol {
        TCP => {
            let announced = body.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
            body.len() >= 20 && announced >= 20 && (announced <= body.len() || !whole)
        }
        UDP => body.len() >= 8 && word(body, 4) >= 8 && (usize::from(word(body, 4)) <= body.len() || !whole),
        _ => return Ok(datagram),
    };
    let refused = |reason| Err(Unreadable { reason, destination: Some(datagram.destination) });
    if !sound {
        return refused(R::DropTruncatedL4);
    }
    let ports = (word(body, 0), word(body, 2));
    if ports.0 == 0 || ports.1 == 0 {
        return refused(R::DropPortZero);
    }
    datagram.ports = Some(ports);
    if datagram.protocol == TCP {
        (datagram.tcp_flags, datagram.seq) = (body[13], long(body, 4));
    }
    Ok(datagram)
}

/// A datagram that an ICMP error quotes, of which only the start is there.
pub struct Quote {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// As its header says.
    pub len: usize,
    pub ports: Option<(u16, u16)>,
}

/// Read what stands behind the eight bytes of an ICMP error; `None` if it cannot be a datagram of this family.
pub fn quote(frame: &[u8], error: &Datagram) -> Option<Quote> {
    let start = error.l4 + 8;
    let bytes = frame.get(start..error.l3 + error.len)?;
    let (source, destination, protocol, len, header_len) = match error.source {
        IpAddr::V4(_) => {
            let header = bytes.get(..20)?;
            let sound = header[0] >> 4 == 4 && header[0] & 15 >= 5 && word(header, 6) & 0x1fff == 0;
            sound.then(|| {
                let len = usize::from(word(header, 2));
                (v4(header, 12), v4(header, 16), header[9], len, usize::from(header[0] & 15) * 4)
            })?
        }
        IpAddr::V6(_) => {
            let header = bytes.get(..40)?;
            let len = usize::from(word(header, 4)) + 40;
            (header[0] >> 4 == 6).then(|| (v6(header, 8), v6(header, 24), header[6], len, 40))?
        }
    };
    bytes.get(..header_len)?; // options that are not of this datagram: the quoted header is not whole
    let near = start + header_len <= DEEPEST;
    let ports = bytes.get(header_len..header_len + 4).filter(|_| near).map(|at| (word(at, 0), word(at, 2)));
    Some(Quote { source, destination, protocol, len, ports })
}
