//! Which packets are captured, and how many: in an operator's words, and in the program's.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::abi::{Pod, capture_filter, slr_addr, slr_const};

/// Bytes of a frame that are kept unless more is asked for.
pub const SNAP: u32 = slr_const::SLR_CAPTURE_SNAP.0;
/// Bytes of a frame that can be kept.
pub const SNAP_MAX: u32 = slr_const::SLR_CAPTURE_SNAP_MAX.0;

/// The share of packets that are looked at: one in so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// All of them.
    pub const ALL: Self = Self(1);
    /// The smallest: the program doubles it.
    const MOST: u32 = 1 << 30;
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1/{}", self.0)
    }
}

impl FromStr for Share {
    type Err = String;

    /// `1/100`, `1%` or `all`. Of per cent the nearest one in so many.
    fn from_str(text: &str) -> Result<Self, String> {
        let one_in = match (text, text.split_once('/'), text.strip_suffix('%')) {
            ("all", ..) => Some(1.0),
            (_, Some(("1", n)), _) => n.parse::<u32>().ok().map(f64::from),
            (_, None, Some(percent)) => percent.parse::<f64>().ok().map(|percent| 100.0 / percent),
            _ => None,
        };
        // As a cast of a number within these bounds is exact.
        one_in
            .filter(|one_in| (1.0..=f64::from(Self::MOST)).contains(one_in))
            .map(|one_in| Self(one_in.round() as u32))
            .ok_or_else(|| format!("share `{text}`: write all, 1/100 or 1%; at most all, and more than nothing"))
    }
}

/// Which packets, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Numbers of the reasons; none: all reasons.
    pub reasons: Vec<u32>,
    /// Index of the hop that they go to; a router's.
    pub hop: Option<u16>,
    /// Where they come from.
    pub client: Option<IpNet>,
    /// Where they go to: a virtual address, and a port.
    pub virtual_host: Option<(IpAddr, Option<u16>)>,
    /// How many of them are looked at.
    pub share: Share,
    /// How many are captured in a second, by all CPUs.
    pub per_s: u32,
    /// Bytes of a frame that are kept.
    pub snap: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            reasons: Vec::new(),
            hop: None,
            client: None,
            virtual_host: None,
            share: Share::ALL,
            per_s: 1_000,
            snap: SNAP,
        }
    }
}

impl Filter {
    pub(super) fn to_abi(&self, until_ns: u64) -> capture_filter {
        let mut abi = capture_filter { until_ns, ..capture_filter::zeroed() };
        for reason in &self.reasons {
            abi.reasons[(reason / 64) as usize] |= 1 << (reason % 64);
        }
        if self.reasons.is_empty() {
            abi.reasons = [u64::MAX; 2];
        }
        abi.hop = self.hop.unwrap_or(0);
        if let Some(client) = self.client {
            let ones = match client {
                IpNet::V4(net) => 96 + u32::from(net.prefix_len()),
                IpNet::V6(net) => u32::from(net.prefix_len()),
            };
            let mask = u128::MAX.checked_shl(128 - ones).unwrap_or(0);
            abi.client = address(client.network());
            abi.client_mask = words(mask);
        }
        if let Some((virtual_address, port)) = self.virtual_host {
            abi.vaddr = address(virtual_address);
            abi.vport = port.unwrap_or(0).to_be();
        }
        abi.one_in = self.share.0;
        (abi.per_s, abi.burst) = (self.per_s, self.per_s.max(1));
        abi.snap = self.snap.clamp(1, SNAP_MAX);
        abi
    }
}

/// IPv4 mapped.
fn address(address: IpAddr) -> slr_addr {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    words(u128::from(address))
}

fn words(bits: u128) -> slr_addr {
    let octets = Ipv6Addr::from(bits).octets();
    slr_addr { word: std::array::from_fn(|i| u32::from_ne_bytes(octets[i * 4..][..4].try_into().expect("four"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_write_them() {
        for (text, one_in) in [("all", 1), ("1/1", 1), ("100%", 1), ("1/2", 2), ("50%", 2), ("30%", 3), ("0.1%", 1_000)]
        {
            assert_eq!(text.parse(), Ok(Share(one_in)), "{text}");
        }
        for wrong in ["", "0", "0%", "1/0", "2/3", "101%", "-1%", "nan%", "inf%", "1/5%", "5", "1/4000000000"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_is_the_programs_bits() {
        let filter = Filter {
            reasons: vec![1, 64, 127],
            client: Some("198.51.100.0/24".parse().unwrap()),
            virtual_host: Some(("192.0.2.9".parse().unwrap(), Some(80))),
            snap: 9_000,
            ..Filter::default()
        };
        let abi = filter.to_abi(7);
        assert_eq!((abi.until_ns, abi.reasons), (7, [1 << 1, 1 | 1 << 63]));
        assert_eq!(abi.client_mask.bytes(), [[0xff; 15].as_slice(), &[0]].concat());
        assert_eq!(abi.vaddr.bytes()[10..], [0xff, 0xff, 192, 0, 2, 9]);
        assert_eq!((abi.vport.to_ne_bytes(), abi.snap), ([0, 80], SNAP_MAX));
        let all = Filter { client: Some("::/0".parse().unwrap()), ..Filter::default() }.to_abi(0);
        assert_eq!((all.reasons, all.client_mask.bytes()), ([u64::MAX; 2], [0; 16].as_slice()));
    }
}
