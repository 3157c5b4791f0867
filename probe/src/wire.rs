//! The echo protocol, in plain text so that any echo server can take part in a measurement.
//!
//! A **message** is one line; over TCP lines follow each other, over UDP one datagram holds one line:
//!
//! ```text
//! probe/1 <flow> <sequence> <padding>\n
//!         |      |          `- '.' repeated until the message has the length asked for
//!         |      `- decimal, from 0, one up per message of the flow
//!         `- 16 hexadecimal digits, unlike any other flow's
//! ```
//!
//! A **reply** is a prefix followed by the message, byte for byte. `probe serve` writes this prefix:
//!
//! ```text
//! <name>/<pid>/<start> conn=<connection> seq=<answer> probe/1 …\n
//!  |      |     |           |                `- decimal, from 1: answers given on this connection (UDP: always 0)
//!  |      |     |           `- decimal, from 1: connections of this process in order of arrival (UDP: always 0)
//!  |      |     `- 8 hexadecimal digits, unlike those of any other start of the process
//!  |      `- decimal
//!  `- `--identity`, without white space
//! ```
//!
//! The first word of the prefix is the server's identity. A plain echo server replies without a prefix and is
//! recorded as [`UNNAMED`]; `sed -u 's/^/web1 /'` behind socat is a server named `web1`.

/// What stands at the start of every message.
pub const MARKER: &[u8] = b"probe/1 ";
/// Shortest message: marker, flow, the longest sequence number, two separators and the line end.
pub const MIN_MESSAGE_BYTES: usize = 48;
/// Longest message that may be asked for: the largest UDP length field. (IPv4 carries 65,507 of these bytes; more is
/// refused by the kernel as too big, and counted as such.)
pub const MAX_MESSAGE_BYTES: usize = 65_535;
/// Longest prefix a reply may have: an identity, a connection and a sequence number, generously.
pub const MAX_PREFIX_BYTES: usize = 512;
/// Identity recorded for a server that gave none.
pub const UNNAMED: &str = "(unnamed)";

/// What a reply says.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// First word of the prefix, or [`UNNAMED`].
    pub server: &'a str,
    /// The server's number for this connection, when it gave one.
    pub connection: Option<u64>,
    /// How many answers the server has given on this connection, when it said so.
    pub answer: Option<u64>,
    /// Flow named in the echoed message.
    pub flow: u64,
    /// Sequence number in the echoed message.
    pub sequence: u64,
    /// The echoed message, from its marker to its end.
    pub message: &'a [u8],
}

/// Writes the message `sequence` of `flow` into `out` (cleared first), `length` bytes long with its line end.
pub fn write_message(out: &mut Vec<u8>, flow: u64, sequence: u64, length: usize) {
    use std::io::Write;
    out.clear();
    out.extend_from_slice(MARKER);
    write!(out, "{flow:016x} {sequence} ").expect("writing to a Vec cannot fail");
    out.resize(length.max(MIN_MESSAGE_BYTES) - 1, b'.');
    out.push(b'\n');
}

/// Reads a reply; `None` when it holds no well-formed message.
pub fn parse_reply(bytes: &[u8]) -> Option<Reply<'_>> {
    let searched = &bytes[..bytes.len().min(MAX_PREFIX_BYTES + MARKER.len())];
    let at = searched.windows(MARKER.len()).position(|window| window == MARKER)?;
    let prefix = std::str::from_utf8(&bytes[..at]).ok()?;
    let message = &bytes[at..];

    let mut words = message[MARKER.len()..].splitn(3, |&byte| byte == b' ');
    let flow = u64::from_str_radix(std::str::from_utf8(words.next()?).ok()?, 16).ok()?;
    let sequence = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    words.next()?;

    let mut prefix = prefix.split_ascii_whitespace();
    let server = prefix.next().unwrap_or(UNNAMED);
    let mut reply = Reply { server, connection: None, answer: None, flow, sequence, message };
    for word in prefix {
        match word.split_once('=') {
            Some(("conn", number)) => reply.connection = number.parse().ok(),
            Some(("seq", number)) => reply.answer = number.parse().ok(),
            _ => {}
        }
    }
    Some(reply)
}

/// Writes the prefix of `probe serve`.
pub fn write_prefix(out: &mut Vec<u8>, server: &str, connection: u64, answer: u64) {
    use std::io::Write;
    write!(out, "{server} conn={connection} seq={answer} ").expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_the_length_asked_for_whatever_the_sequence() {
        let mut out = Vec::new();
        for (sequence, length) in [(0, 48), (u64::MAX, 48), (7, 64), (1, 1_400), (3, 10)] {
            write_message(&mut out, u64::MAX, sequence, length);
            assert_eq!(out.len(), length.max(MIN_MESSAGE_BYTES));
            assert_eq!(out.last(), Some(&b'\n'));
            let reply = parse_reply(&out).expect("a bare message is a reply");
            assert_eq!((reply.flow, reply.sequence, reply.server), (u64::MAX, sequence, UNNAMED));
        }
    }

    #[test]
    fn prefix_is_read_back() {
        let mut message = Vec::new();
        write_message(&mut message, 0xabc, 9, 64);
        let mut bytes = Vec::new();
        write_prefix(&mut bytes, "web1/12/0000beef", 3, 4);
        bytes.extend_from_slice(&message);
        let reply = parse_reply(&bytes).expect("well-formed");
        assert_eq!(reply.server, "web1/12/0000beef");
        assert_eq!((reply.connection, reply.answer), (Some(3), Some(4)));
        assert_eq!((reply.flow, reply.sequence), (0xabc, 9));
        assert_eq!(reply.message, &message[..]);
    }

    #[test]
    fn a_foreign_echo_may_name_itself() {
        let reply = parse_reply(b"web1 probe/1 000000000000000a 2 ...\n").expect("well-formed");
        assert_eq!((reply.server, reply.connection, reply.answer), ("web1", None, None));
    }

    #[test]
    fn what_is_not_a_reply_is_refused() {
        let far = [vec![b'x'; MAX_PREFIX_BYTES + 1], b"probe/1 0a 1 .\n".to_vec()].concat();
        let bad: [&[u8]; 7] =
            [b"", b"hello\n", b"probe/1 ", b"probe/1 zz 1 .\n", b"probe/1 0a x .\n", b"probe/1 0a 1\n", &far];
        for bytes in bad {
            assert_eq!(parse_reply(bytes), None, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
