//! Frames: envelopes on a stream, each behind its length.

use thiserror::Error;

use crate::bounds::FRAME_MAX;

/// Bytes of the length: a `u32` in network order.
pub(crate) const LENGTH_LEN: usize = 4;

/// A length that no frame has. The stream is useless from here on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a frame of {len} bytes: at most {FRAME_MAX} are read")]
pub struct FrameError {
    /// The length as it was announced.
    pub len: usize,
}

/// Cuts a stream into envelopes. It holds at most one frame and what arrived with it.
#[derive(Clone, Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    /// Where the next frame begins; what is before it has been handed out.
    begin: usize,
}

impl FrameReader {
    /// Takes what the stream brought. Call [`FrameReader::next_frame`] until it has nothing more before the next push:
    /// that bounds the memory.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.begin > 0 {
            self.bytes.drain(..self.begin);
            self.begin = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next envelope, if all of it is here.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.bytes[self.begin..];
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length) as usize;
        if len > FRAME_MAX {
            return Err(FrameError { len });
        }
        if rest.len() < len {
            return Ok(None);
        }
        let begin = self.begin + LENGTH_LEN;
        self.begin = begin + len;
        Ok(Some(&self.bytes[begin..self.begin]))
    }

    /// Whether the stream may end here: no frame has begun.
    pub fn is_empty(&self) -> bool {
        self.begin == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_however_the_bytes_come_in() {
        let stream = [&[0, 0, 0, 2, 7, 8][..], &[0, 0, 0, 0], &[0, 0, 0, 1, 9]].concat();
        for size in 1..=stream.len() {
            let mut reader = FrameReader::default();
            let mut frames = Vec::new();
            for chunk in stream.chunks(size) {
                reader.push(chunk);
                while let Some(frame) = reader.next_frame().unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, [vec![7, 8], vec![], vec![9]], "in chunks of {size}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_its_bytes() {
        let mut reader = FrameReader::default();
        reader.push(&(FRAME_MAX as u32 + 1).to_be_bytes());
        assert_eq!(reader.next_frame(), Err(FrameError { len: FRAME_MAX + 1 }));
        let mut reader = FrameReader::default();
        reader.push(&(FRAME_MAX as u32).to_be_bytes());
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(!reader.is_empty());
    }
}
