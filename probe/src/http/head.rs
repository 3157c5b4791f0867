//! Message heads: bytes in, the few fields that this program acts on out.

use super::body::Framing;

/// Longest head accepted, start line and fields together. nginx's own default limit for one field is 8 KiB.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most fields accepted in one head.
const MAX_FIELDS: usize = 100;

/// Response field by which `probe serve` names itself (and other servers can be told to).
pub const SERVER_FIELD: &str = "X-Slr-Server";
/// Field by which the sender of a body says that it follows [`crate::pattern`].
pub const PATTERN_FIELD: &str = "X-Probe-Pattern";
/// Response field in which `probe serve` says how many bytes of an upload arrived.
pub const RECEIVED_FIELD: &str = "X-Probe-Received";

/// Why a head was refused. The text completes "malformed HTTP: …".
pub type Malformed = &'static str;

/// What a response's head says.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    pub status: u16,
    pub framing: Framing,
    /// The server will close the connection after this response.
    pub closes: bool,
    /// Value of the field that names the server, when present.
    pub server: Option<&'a str>,
    /// The body follows [`crate::pattern`].
    pub patterned: bool,
    /// Bytes of the upload that the server says it got.
    pub received: Option<u64>,
}

/// What a request's head says.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// The request target as sent, query included.
    pub target: &'a str,
    pub framing: Framing,
    /// The client wants the connection closed after the response.
    pub closes: bool,
    /// The body follows [`crate::pattern`].
    pub patterned: bool,
}

/// Length of the head at the start of `bytes`, its empty line included; `None` while the empty line has not come.
pub fn length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Reads a response's head (exactly the bytes that [`length`] measured). `server_field` names the identity.
pub fn parse_response<'a>(head: &'a [u8], server_field: &str) -> Result<ResponseHead<'a>, Malformed> {
    let text = std::str::from_utf8(head).map_err(|_| "head is not text")?;
    let (start, fields) = text.split_once("\r\n").ok_or("no status line")?;
    let rest = start.strip_prefix("HTTP/1.").ok_or("does not start with HTTP/1.")?;
    let (minor, rest) = rest.split_once(' ').ok_or("no status code")?;
    let status: u16 = rest.get(..3).and_then(|code| code.parse().ok()).ok_or("no three-digit status code")?;
    if !(100..600).contains(&status) {
        return Err("status code out of range");
    }

    let fields = Fields::parse(fields, server_field)?;
    let framing = match (status, fields.chunked, fields.content_length) {
        (100..200 | 204 | 304, ..) => Framing::Length(0),
        (_, true, _) => Framing::Chunked,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    };
    let closes = framing == Framing::UntilClose || fields.closes(minor);
    let Fields { server, patterned, received, .. } = fields;
    Ok(ResponseHead { status, framing, closes, server, patterned, received })
}

/// Reads a request's head (exactly the bytes that [`length`] measured).
pub fn parse_request(head: &[u8]) -> Result<RequestHead<'_>, Malformed> {
    let text = std::str::from_utf8(head).map_err(|_| "head is not text")?;
    let (start, fields) = text.split_once("\r\n").ok_or("no request line")?;
    let mut words = start.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("request line is not three words");
    };
    let minor = version.strip_prefix("HTTP/1.").ok_or("version is not HTTP/1.x")?;
    let fields = Fields::parse(fields, "")?;
    let framing = match (fields.chunked, fields.content_length) {
        (true, _) => Framing::Chunked,
        (false, length) => Framing::Length(length.unwrap_or(0)),
    };
    Ok(RequestHead { method, target, framing, closes: fields.closes(minor), patterned: fields.patterned })
}

/// The fields this program acts on, of either kind of message.
#[derive(Default)]
struct Fields<'a> {
    content_length: Option<u64>,
    chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    server: Option<&'a str>,
    patterned: bool,
    received: Option<u64>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str, server_field: &str) -> Result<Self, Malformed> {
        let mut fields = Self::default();
        for (at, line) in text.split("\r\n").take_while(|line| !line.is_empty()).enumerate() {
            if at == MAX_FIELDS {
                return Err("too many fields");
            }
            let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
            fields.take(name, value.trim_matches([' ', '\t']), server_field)?;
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str, value: &'a str, server_field: &str) -> Result<(), Malformed> {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| "Content-Length is no number")?;
            // RFC 9112 section 6.3: differing lengths are an attack or a fault, never a choice.
            if self.content_length.is_some_and(|earlier| earlier != length) {
                return Err("two Content-Length fields that differ");
            }
            self.content_length = Some(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err("a transfer coding other than chunked");
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            self.says_close |= has_token(value, "close");
            self.says_keep_alive |= has_token(value, "keep-alive");
        } else if name.eq_ignore_ascii_case(PATTERN_FIELD) {
            self.patterned = value == crate::pattern::NAME;
        } else if name.eq_ignore_ascii_case(RECEIVED_FIELD) {
            self.received = value.parse().ok();
        }
        // Not an `else`: the operator may name any field, one of the above included.
        if !server_field.is_empty() && name.eq_ignore_ascii_case(server_field) && !value.is_empty() {
            self.server = Some(value);
        }
        Ok(())
    }

    /// Persistence of RFC 9112 section 9.3: `close` wins; HTTP/1.0 persists only when asked to.
    fn closes(&self, minor: &str) -> bool {
        self.says_close || (minor == "0" && !self.says_keep_alive)
    }
}

fn has_token(list: &str, token: &str) -> bool {
    list.split(',').any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Result<ResponseHead<'_>, Malformed> {
        assert_eq!(length(text.as_bytes()), Some(text.len()), "fixture must be one whole head");
        parse_response(text.as_bytes(), SERVER_FIELD)
    }

    #[test]
    fn head_is_measured_only_when_whole() {
        let head = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody";
        for cut in 0..head.len() - 4 {
            assert_eq!(length(&head[..cut]), None, "cut at {cut}");
        }
        assert_eq!(length(head), Some(head.len() - 4));
    }

    #[test]
    fn response_of_nginx() {
        let head = response(
            "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 612\r\nConnection: keep-alive\r\n\
             x-slr-server: web1/77\r\nAccept-Ranges: bytes\r\n\r\n",
        )
        .expect("well-formed");
        assert_eq!((head.status, head.framing, head.closes), (200, Framing::Length(612), false));
        assert_eq!(head.server, Some("web1/77"));
        assert!(!head.patterned);
    }

    #[test]
    fn framing_table() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked, false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 5\r\n\r\n", Framing::Chunked, false),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, true),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::Length(0), false),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Framing::Length(0), false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: foo, Close\r\n\r\n", Framing::Length(5), true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", Framing::Length(5), false),
            ("HTTP/1.1 200 \r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), false),
        ];
        for (text, framing, closes) in cases {
            let head = response(text).expect(text);
            assert_eq!((head.framing, head.closes), (framing, closes), "{text}");
        }
    }

    #[test]
    fn malformed_responses() {
        let cases = [
            "HTTP/2 200 OK\r\n\r\n",
            "hello\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 999 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ];
        for text in cases {
            assert!(response(text).is_err(), "{text}");
        }
        assert!(parse_response(b"HTTP/1.1 200 OK\r\nA: \xff\r\n\r\n", "").is_err());
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(response(&many), Err("too many fields"));
    }

    #[test]
    fn requests() {
        let head = parse_request(b"GET /bytes/10?rate=5 HTTP/1.1\r\nHost: a\r\n\r\n").expect("well-formed");
        assert_eq!((head.method, head.target), ("GET", "/bytes/10?rate=5"));
        assert_eq!((head.framing, head.closes), (Framing::Length(0), false));

        let put = b"PUT /u HTTP/1.1\r\nContent-Length: 10\r\nX-Probe-Pattern: mod251\r\nConnection: close\r\n\r\n";
        let head = parse_request(put).expect("well-formed");
        assert_eq!((head.framing, head.closes, head.patterned), (Framing::Length(10), true, true));

        for bad in [&b"GET /\r\n\r\n"[..], b"GET / HTTP/2\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n"] {
            assert!(parse_request(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
