//! Body framing: which of the bytes on the connection are content, and where the body ends.

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Exactly this many bytes.
    Length(u64),
    /// Chunks, the last one empty.
    Chunked,
    /// Everything until the sender closes.
    UntilClose,
}

/// Longest line between chunks (a size with its extensions, or a trailer field).
const MAX_CHUNK_LINE_BYTES: usize = 4096;

/// Tells content from framing, over any division of the input into reads.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the present line between chunks.
    line: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Content { left: u64 },
    UntilClose,
    ChunkSize { size: u64, digits: u8, in_extension: bool },
    ChunkContent { left: u64 },
    ChunkEnd,
    Trailer,
    Done,
}

impl Decoder {
    /// A decoder at the first byte after the head.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Content { left },
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => State::chunk_size(),
        };
        Self { state, line: 0 }
    }

    /// The body has ended; the next byte belongs to the next message.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The body may end where the connection does.
    pub fn may_end_here(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// Takes bytes off `input`; content goes to `sink`. Returns how many bytes belonged to this body.
    pub fn feed(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            let rest = &input[at..];
            at += match &mut self.state {
                State::UntilClose => {
                    sink(rest);
                    rest.len()
                }
                State::Content { left } | State::ChunkContent { left } => {
                    let taken = (rest.len() as u64).min(*left) as usize;
                    *left -= taken as u64;
                    sink(&rest[..taken]);
                    taken
                }
                _ => {
                    self.framing_byte(rest[0])?;
                    1
                }
            };
            match self.state {
                State::Content { left: 0 } => self.state = State::Done,
                State::ChunkContent { left: 0 } => self.state = State::ChunkEnd,
                _ => {}
            }
        }
        Ok(at)
    }

    /// One byte between chunks.
    fn framing_byte(&mut self, byte: u8) -> Result<(), &'static str> {
        self.line += 1;
        if self.line > MAX_CHUNK_LINE_BYTES {
            return Err("a line between chunks is too long");
        }
        match (&mut self.state, byte) {
            (State::ChunkSize { size, digits: 1.., .. }, b'\n') => {
                self.state = if *size == 0 { State::Trailer } else { State::ChunkContent { left: *size } };
                self.line = 0;
            }
            (State::ChunkSize { digits: 1.., .. }, b'\r') => {}
            (State::ChunkSize { in_extension, digits: 1.., .. }, b';' | b' ' | b'\t') => *in_extension = true,
            (State::ChunkSize { in_extension: true, .. }, _) => {}
            (State::ChunkSize { size, digits, .. }, _) => {
                let digit = (byte as char).to_digit(16).ok_or("a chunk size that is no hexadecimal number")?;
                *size = size.checked_mul(16).ok_or("a chunk size out of range")? + u64::from(digit);
                *digits = digits.saturating_add(1);
            }
            (State::ChunkEnd, b'\r') => {}
            (State::ChunkEnd, b'\n') => {
                self.state = State::chunk_size();
                self.line = 0;
            }
            (State::ChunkEnd, _) => return Err("a chunk longer than it said"),
            // A trailer line ends at its line feed; an empty one (only CR before it) ends the body.
            (State::Trailer, b'\n') if self.line <= 2 => self.state = State::Done,
            (State::Trailer, b'\n') => self.line = 0,
            (State::Trailer, _) => {}
            (State::Content { .. } | State::UntilClose | State::ChunkContent { .. } | State::Done, _) => {
                unreachable!("feed hands these states no framing byte")
            }
        }
        Ok(())
    }
}

impl State {
    fn chunk_size() -> Self {
        Self::ChunkSize { size: 0, digits: 0, in_extension: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `step` bytes: content, bytes taken, whether the body ended.
    fn decode(framing: Framing, input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), &'static str> {
        let mut decoder = Decoder::new(framing);
        let (mut content, mut taken) = (Vec::new(), 0);
        for piece in input.chunks(step) {
            taken += decoder.feed(piece, |bytes| content.extend_from_slice(bytes))?;
            if decoder.is_done() {
                break;
            }
        }
        Ok((content, taken, decoder.is_done()))
    }

    #[test]
    fn every_framing_under_every_division_of_the_input() {
        let chunked: &[u8] = b"5\r\nhello\r\n10;ext=1\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        type Case = (Framing, &'static [u8], &'static [u8], usize, bool);
        let cases: [Case; 6] = [
            (Framing::Length(5), b"helloNEXT", b"hello", 5, true),
            (Framing::Length(5), b"hell", b"hell", 4, false),
            (Framing::Length(0), b"NEXT", b"", 0, true),
            (Framing::UntilClose, b"all of it", b"all of it", 9, false),
            (Framing::Chunked, chunked, b"hello0123456789abcdef", chunked.len() - 4, true),
            (Framing::Chunked, b"0\r\n\r\nNEXT", b"", 5, true),
        ];
        for (framing, input, content, taken, done) in cases {
            for step in 1..=input.len() {
                let got = decode(framing, input, step).expect("well-formed");
                assert_eq!(got, (content.to_vec(), taken, done), "{framing:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn malformed_chunks() {
        let long = [b"5;".to_vec(), vec![b'x'; MAX_CHUNK_LINE_BYTES]].concat();
        let cases: [&[u8]; 6] =
            [b"x\r\n", b"\r\n", b"5\r\nhelloX", b"11111111111111111\r\n", b";ext\r\n", long.as_slice()];
        for input in cases {
            assert!(decode(Framing::Chunked, input, 1).is_err(), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn an_end_of_connection_is_an_end_only_where_the_framing_allows() {
        assert!(Decoder::new(Framing::UntilClose).may_end_here());
        assert!(Decoder::new(Framing::Length(0)).may_end_here());
        assert!(!Decoder::new(Framing::Length(1)).may_end_here());
        assert!(!Decoder::new(Framing::Chunked).may_end_here());
    }
}
