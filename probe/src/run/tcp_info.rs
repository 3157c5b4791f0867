//! What the kernel says of a TCP connection (`struct tcp_info`).

use std::{io, mem, os::fd::AsRawFd};

/// `TCP_CLOSE`, the state of a connection that was reset (`include/net/tcp_states.h`).
pub const CLOSED: u8 = 7;

/// The kernel's account of a connection. Fields that an older kernel does not fill are zero.
#[expect(unsafe_code, reason = "neither socket2 nor nix knows TCP_INFO")]
pub fn of(socket: &impl AsRawFd) -> io::Result<libc::tcp_info> {
    // SAFETY: tcp_info is plain integers, of which all zeroes is a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel writes at most `length` bytes,
    // which is the size of `info`, and keeps no pointer.
    let result = unsafe {
        let out = (&raw mut info).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, out, &raw mut length)
    };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn acknowledged_bytes_and_the_closed_state() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("somebody listens");
        let (mut server, _) = listener.accept().expect("a connection waits");
        client.write_all(&[1; 1000]).expect("connected");
        server.read_exact(&mut [0; 1000]).expect("it was sent");
        // An answer carries the acknowledgement with it.
        server.write_all(b"x").expect("connected");
        client.read_exact(&mut [0]).expect("it was sent");
        let info = of(&client).expect("a TCP socket");
        assert!(info.tcpi_bytes_acked >= 1000, "{}", info.tcpi_bytes_acked);
        assert_eq!(info.tcpi_total_retrans, 0);

        socket2::Socket::from(server).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
        assert!(client.read(&mut [0]).is_err(), "reset");
        assert_eq!(of(&client).expect("still a socket").tcpi_state, CLOSED);
    }
}
