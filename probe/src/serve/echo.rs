//! The TCP echo service: each line is answered by the prefix of [`crate::wire`] and the line itself.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Shared;
use crate::wire;

/// Longest line taken: the longest message. Whoever sends more without a line end is cut off.
const MAX_LINE_BYTES: usize = wire::MAX_MESSAGE_BYTES;
/// What the buffer starts with; it grows to [`MAX_LINE_BYTES`] only for those who send long lines.
const FIRST_BUFFER_BYTES: usize = 2048;

/// Answers lines until the client closes, or nothing moves for the idle time.
pub async fn converse(mut stream: TcpStream, shared: &Shared, connection: u64) -> io::Result<()> {
    let mut input = vec![0; FIRST_BUFFER_BYTES];
    let mut filled = 0;
    let mut output = Vec::new();
    let mut answers = 0;
    loop {
        if filled == input.len() {
            if filled >= MAX_LINE_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "line too long"));
            }
            input.resize((filled * 2).min(MAX_LINE_BYTES), 0);
        }
        let read = timeout(shared.idle_timeout, stream.read(&mut input[filled..])).await??;
        if read == 0 {
            return stream.shutdown().await;
        }
        filled += read;

        output.clear();
        let mut taken = 0;
        while let Some(length) = input[taken..filled].iter().position(|&byte| byte == b'\n') {
            answers += 1;
            wire::write_prefix(&mut output, shared.identity.text(), connection, answers);
            output.extend_from_slice(&input[taken..=taken + length]);
            taken += length + 1;
        }
        input.copy_within(taken..filled, 0);
        filled -= taken;
        timeout(shared.idle_timeout, stream.write_all(&output)).await??;
    }
}
