//! Turns off what a veth pretends to have: after an XDP rewrite a partial checksum is invalid, and with segmentation
//! offload one lost "frame" is 64 kB.

use anyhow::{Context, Result};
use std::io;
use std::os::fd::AsRawFd;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO of linux/ethtool.h.
const SET_COMMANDS: [(u32, &str); 4] = [(0x17, "tx"), (0x1f, "tso"), (0x24, "gso"), (0x2c, "gro")];

/// `ethtool -K INTERFACE tx off tso off gso off gro off` in the current network namespace.
pub(super) fn turn_off(interface: &str) -> Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("open a socket for ethtool")?;
    for (command, name) in SET_COMMANDS {
        set(&socket, interface, command).with_context(|| format!("ethtool -K {interface} {name} off"))?;
    }
    Ok(())
}

fn set(socket: &impl AsRawFd, interface: &str, command: u32) -> io::Result<()> {
    let mut value = EthtoolValue { command, data: 0 };
    #[expect(unsafe_code, reason = "SIOCETHTOOL has no safe wrapper")]
    // SAFETY: ifreq is plain data for which zeros are valid; the name is shorter than its field, so it stays terminated;
    // `value` outlives the call and is what these ethtool commands expect behind ifr_data.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request)
    };
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Not changeable and hence off already: a veth whose peer has an XDP program has no segmentation offload.
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        error => Err(error),
    }
}
