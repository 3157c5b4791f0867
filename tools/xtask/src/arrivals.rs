//! When the last new flow was sent to each host: first SYNs in the SLR's tunnels, as they pass the site's router. What it
//! passes on is seen here also if the host's link swallows it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use slr_testkit::lab::Lab;

/// Longer than any test: what has passed is remembered until then.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// New flows to port 80, by host.
#[derive(Debug)]
pub struct Arrivals<'a> {
    lab: &'a Lab,
}

impl<'a> Arrivals<'a> {
    /// Watch from now on; once per lab. The tunnels are IPv4; what is in them, IPv4 without options or IPv6, or a second header
    /// for the host that is to take what the first refuses.
    pub fn start(lab: &'a Lab) -> Result<Self> {
        let table = format!(
            "table inet arrivals {{
                set last {{ type ipv4_addr; flags dynamic, timeout; timeout {}s; size 64; }}
                chain forward {{ type filter hook forward priority 0;
                    ip protocol 4 @nh,232,8 6 @nh,336,16 80 @nh,424,8 & 0x12 == 0x02 update @last {{ ip daddr }}
                    ip protocol 41 @nh,496,16 80 @nh,584,8 & 0x12 == 0x02 update @last {{ ip daddr }}
                    ip protocol 4 @nh,232,8 4 @nh,496,16 80 @nh,584,8 & 0x12 == 0x02 update @last {{ ip daddr }}
                    ip protocol 4 @nh,232,8 41 @nh,656,16 80 @nh,744,8 & 0x12 == 0x02 update @last {{ ip daddr }}
                }}
            }}",
            REMEMBERED.as_secs()
        );
        lab.sh("site", &format!("echo '{table}' | nft --file -"))?;
        Ok(Self { lab })
    }

    /// Those that are watched already.
    pub fn at(lab: &'a Lab) -> Self {
        Self { lab }
    }

    /// When the last one was sent to a host.
    pub fn last(&self, host: &str) -> Result<Instant> {
        let text = self.lab.sh("site", "nft list set inet arrivals last")?;
        let now = Instant::now();
        let address = format!("10.1.1{}.2", host.trim_start_matches('h'));
        let left = text.split([',', '{', '}']).find_map(|element| {
            let mut words = element.split_whitespace();
            (words.next() == Some(&address)).then(|| words.skip_while(|word| *word != "expires").nth(1))?
        });
        let left = left.and_then(duration).with_context(|| format!("no new flow was ever sent to {host}: {text}"))?;
        let ago = REMEMBERED.saturating_sub(left);
        now.checked_sub(ago).context("it was before this machine's start")
    }
}

/// `59m58s123ms`, as nft writes it.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let unit = &rest[digits..];
        let letters = unit.find(|letter: char| letter.is_ascii_digit()).unwrap_or(unit.len());
        let ms = match &unit[..letters] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        sum += Duration::from_millis(rest[..digits].parse::<u64>().ok()? * ms);
        rest = &unit[letters..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_nft_writes_them() {
        let cases = [("59m58s123ms", Some(3_598_123)), ("1h", Some(3_600_000)), ("4ms", Some(4)), ("3d", None)];
        for (text, ms) in cases {
            assert_eq!(duration(text), ms.map(Duration::from_millis), "{text}");
        }
        assert_eq!(duration("12"), None);
    }
}
