//! Reading one HTTP response, whole and checked.

use std::rc::Rc;

use tokio::net::TcpStream;

use crate::{
    http::{
        body::{Decoder, Framing},
        head,
    },
    run::{
        connection,
        failure::{Cause, Failure},
        flow::Flow,
    },
    wire::UNNAMED,
};

/// Longest first line taken from a body as a server's name.
const MAX_BODY_NAME_BYTES: usize = 128;

/// What of a response matters once it is there.
pub struct Response {
    /// The server closes the connection after it.
    pub closes: bool,
    /// Bytes of an upload that the server says it got.
    pub received: Option<u64>,
}

/// The parts of a head that outlive the buffer it was read into.
struct Head {
    status: u16,
    framing: Framing,
    response: Response,
    server: Option<String>,
    patterned: bool,
}

/// Content as it passes by.
struct Content {
    bytes: u64,
    first_wrong: Option<u64>,
    /// Its beginning, as far as it may hold a name.
    beginning: Vec<u8>,
}

/// Reads one response into `buffer`. `begun` is when its request was made: the latency ends with the body's last byte.
pub async fn read_response(
    flow: &mut Flow,
    stream: &mut TcpStream,
    buffer: &mut [u8],
    begun: std::time::Instant,
) -> Result<Response, Failure> {
    let (head, head_length, filled) = read_head(flow, stream, buffer).await?;
    let content = read_body(flow, stream, buffer, head_length..filled, &head).await?;
    flow.answered(begun, false);

    let from_body = flow.environment.args.identity_body.then(|| first_line(&content.beginning)).flatten();
    let server = head.server.as_deref().or(from_body).unwrap_or(UNNAMED);
    let known = flow.answered_by(server);
    if !(200..300).contains(&head.status) {
        return Err(Failure::new(Cause::BadStatus, format!("status {} from {server}", head.status)));
    }
    known?;
    if let Some(offset) = content.first_wrong {
        return Err(Failure::new(Cause::BadContent, format!("wrong byte at offset {offset} from {server}")));
    }
    Ok(head.response)
}

/// Reads until a final response's head is whole: the head, its length, and how much of the buffer is filled.
async fn read_head(
    flow: &mut Flow,
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<(Head, usize, usize), Failure> {
    let mut filled = 0;
    loop {
        if let Some(length) = head::length(&buffer[..filled]) {
            let head = parse(&buffer[..length], &flow.environment.args.identity_header)?;
            if head.status >= 200 {
                return Ok((head, length, filled));
            }
            // An interim response (RFC 9110 section 15.2) precedes the one that counts.
            buffer.copy_within(length..filled, 0);
            filled -= length;
            continue;
        }
        if filled == buffer.len().min(head::MAX_HEAD_BYTES) {
            return Err(Failure::new(Cause::BadContent, format!("response head longer than {filled} bytes")));
        }
        let limit = buffer.len().min(head::MAX_HEAD_BYTES);
        match connection::read(flow, stream, &mut buffer[filled..limit]).await? {
            0 if filled == 0 => {
                return Err(Failure::new(Cause::EarlyEof, "connection ended before the response"));
            }
            0 => return Err(Failure::new(Cause::ShortBody, "connection ended inside the response's head")),
            read => filled += read,
        }
    }
}

fn parse(bytes: &[u8], server_field: &str) -> Result<Head, Failure> {
    let head = head::parse_response(bytes, server_field)
        .map_err(|why| Failure::new(Cause::BadContent, format!("malformed HTTP: {why}")))?;
    Ok(Head {
        status: head.status,
        framing: head.framing,
        response: Response { closes: head.closes, received: head.received },
        server: head.server.map(str::to_owned),
        patterned: head.patterned,
    })
}

/// Reads the body to its end; `have` is the part of the buffer that came with the head.
async fn read_body(
    flow: &mut Flow,
    stream: &mut TcpStream,
    buffer: &mut [u8],
    have: std::ops::Range<usize>,
    head: &Head,
) -> Result<Content, Failure> {
    let environment = Rc::clone(&flow.environment);
    let mut content = Content { bytes: 0, first_wrong: None, beginning: Vec::new() };
    let mut decoder = Decoder::new(head.framing);
    let mut have = have;
    loop {
        let taken = decoder
            .feed(&buffer[have.clone()], |piece| {
                if head.patterned && content.first_wrong.is_none() {
                    content.first_wrong = environment.pattern.first_wrong(content.bytes, piece);
                }
                if environment.args.identity_body {
                    content.keep_beginning(piece);
                }
                content.bytes += piece.len() as u64;
            })
            .map_err(|why| Failure::new(Cause::BadContent, format!("malformed HTTP: {why}")))?;
        if decoder.is_done() {
            if taken < have.len() {
                let more = have.len() - taken;
                return Err(Failure::new(Cause::BadContent, format!("{more} bytes after the response's end")));
            }
            return Ok(content);
        }
        match connection::read(flow, stream, buffer).await? {
            0 if decoder.may_end_here() => return Ok(content),
            0 => {
                let detail = format!("connection ended after {} bytes of content", content.bytes);
                return Err(Failure::new(Cause::ShortBody, detail));
            }
            read => have = 0..read,
        }
        // A fast transfer always finds bytes; the other flows of this thread are to have their turn between two reads.
        tokio::task::yield_now().await;
    }
}

impl Content {
    fn keep_beginning(&mut self, piece: &[u8]) {
        let room = MAX_BODY_NAME_BYTES - self.beginning.len();
        self.beginning.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// The first line of a body, when it is text and not blank.
fn first_line(beginning: &[u8]) -> Option<&str> {
    let line = beginning.split(|&byte| byte == b'\n').next()?;
    std::str::from_utf8(line).ok().map(str::trim).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::first_line;

    #[test]
    fn names_in_bodies() {
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"web1\nmore", Some("web1")),
            (b"  web1 \r\n", Some("web1")),
            (b"web1", Some("web1")),
            (b"", None),
            (b"\nweb1", None),
            (b"\xff\xfe\n", None),
        ];
        for (body, name) in cases {
            assert_eq!(first_line(body), name, "{:?}", String::from_utf8_lossy(body));
        }
    }
}
