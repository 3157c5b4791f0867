//! What can be asked for on the command line. Doc comments here are the help texts.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use slr_dataplane::capture::{SNAP, SNAP_MAX, Share};

/// Which packets, how many, and where to.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where the capture goes, as pcapng; `-`: to stdout, for a program that reads it while it is written.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    /// Tell each packet in a line, with what usually helps, instead of writing a capture. So it is on a terminal without --out.
    #[arg(long, conflicts_with = "out")]
    pub text: bool,
    /// Only packets that end by this reason, as `show counters` names it (may be given several times).
    #[arg(long, value_name = "NAME")]
    pub reason: Vec<String>,
    /// Only packets that are dropped, for whatever reason.
    #[arg(long)]
    pub dropped: bool,
    /// Only packets of this client, or of the clients in this prefix; what is dropped also of whoever sent it in a tunnel.
    #[arg(long, value_name = "ADDRESS[/PREFIX]", value_parser = prefix_or_address)]
    pub client: Option<IpNet>,
    /// Only packets to this virtual address, or to one of its ports, such as 192.0.2.9, 192.0.2.9:80 or [2001:db8::9]:80.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = virtual_host)]
    pub virtual_host: Option<(IpAddr, Option<u16>)>,
    /// How many of all packets are looked at: all, or a share, such as 1/100 or 1%.
    #[arg(long, value_name = "SHARE", default_value = "all")]
    pub sample: Share,
    /// Capture at most so many packets in a second.
    #[arg(long, value_name = "PACKETS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Keep so many bytes of each frame.
    #[arg(long, value_name = "BYTES", default_value_t = SNAP, value_parser = clap::value_parser!(u32).range(14..=i64::from(SNAP_MAX)))]
    pub snap: u32,
    /// End after so many packets.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
}

fn prefix_or_address(text: &str) -> Result<IpNet, String> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        format!("{text:?} is neither an address nor a prefix: write 198.51.100.7, 198.51.100.0/24 or 2001:db8::/64")
    })
}

fn virtual_host(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok((socket.ip(), Some(socket.port())));
    }
    text.parse().map(|address| (address, None)).map_err(|_| {
        format!("{text:?} is no virtual host: write 192.0.2.9, 192.0.2.9:80, 2001:db8::9 or [2001:db8::9]:80")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_hosts_have_a_port_or_none() {
        assert_eq!(virtual_host("192.0.2.9"), Ok(("192.0.2.9".parse().unwrap(), None)));
        assert_eq!(virtual_host("192.0.2.9:80"), Ok(("192.0.2.9".parse().unwrap(), Some(80))));
        assert_eq!(virtual_host("2001:db8::9"), Ok(("2001:db8::9".parse().unwrap(), None)));
        assert_eq!(virtual_host("[2001:db8::9]:80"), Ok(("2001:db8::9".parse().unwrap(), Some(80))));
        assert!(virtual_host("www:80").unwrap_err().contains("192.0.2.9:80"));
        assert_eq!(prefix_or_address("10.0.0.1"), Ok("10.0.0.1/32".parse().unwrap()));
    }
}
