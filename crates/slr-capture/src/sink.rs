//! Where packets go: into a file, or as lines to whoever looks on.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use slr_dataplane::capture::{Action, Captured, Image};

use crate::pcapng::{File, Side};
use crate::summary::summary;

/// One of the two.
pub enum Sink {
    /// Both frames of each packet.
    File(File<Box<dyn Write>>),
    /// A line for each.
    Lines(Box<dyn Write>),
}

/// What is told of a packet besides its frames.
pub struct Told<'a> {
    /// What became of it, as in a file's comment.
    pub comment: &'a str,
    /// What usually helps; of drops.
    pub remedy: Option<&'static str>,
    /// Names of interfaces that are known; others are asked for.
    pub interfaces: &'a BTreeMap<u32, String>,
}

impl Sink {
    /// A packet that came `at`, since 1970.
    pub fn packet(&mut self, at: Duration, packet: &Captured, told: &Told) -> io::Result<()> {
        let name = |image: &Image| name_of(told.interfaces, image.ifindex);
        match self {
            Self::Lines(out) => writeln!(out, "{}", line(at, packet, &name(&packet.before), told)),
            Self::File(file) => {
                file.frame(at, &packet.before, &name(&packet.before), Side::Before, told.comment)?;
                if let Some(after) = &packet.after {
                    let side = Side::After { sent: matches!(packet.action, Action::Tx | Action::Redirect) };
                    file.frame(at, after, &name(after), side, told.comment)?;
                }
                Ok(())
            }
        }
    }

    /// Hands on what was told so far.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Lines(out) => out.flush(),
        }
    }

    /// The end: `lost` packets are missing, and why in words.
    pub fn finish(self, at: Duration, lost: u64, why: &str) -> io::Result<()> {
        match self {
            Self::File(file) => file.finish(at, lost, why).map(drop),
            Self::Lines(mut out) => out.flush(),
        }
    }
}

/// The time of day in UTC, the packet, where it came, what became of it, and what helps.
fn line(at: Duration, packet: &Captured, interface: &str, told: &Told) -> String {
    let (second, millis) = (at.as_secs() % 86_400, at.subsec_millis());
    let clock = format!("{:02}:{:02}:{:02}.{millis:03}", second / 3_600, second / 60 % 60, second % 60);
    let Image { len, bytes, .. } = &packet.before;
    let helps = told.remedy.map(|remedy| format!("\n    what helps: {remedy}")).unwrap_or_default();
    format!("{clock} {}, {len} bytes at {interface}\n    {}{helps}", summary(bytes), told.comment)
}

fn name_of(interfaces: &BTreeMap<u32, String>, ifindex: u32) -> String {
    let asked = || nix::net::if_::if_indextoname(ifindex).ok()?.into_string().ok();
    interfaces.get(&ifindex).cloned().or_else(asked).unwrap_or_else(|| format!("interface {ifindex}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_testkit::packet::{ACK, pkt};

    #[test]
    fn a_line_says_when_who_where_why_and_what_helps() {
        let bytes =
            pkt().eth("02:00:00:00:00:01", "02:00:00:00:00:02").ipv4("10.0.1.2", "192.0.2.10").tcp(9, 80).flags(ACK);
        let before = Image { ifindex: 7, len: 1_500, bytes: bytes.build() };
        let packet = Captured { at: Duration::ZERO, reason: 1, action: Action::Drop, hop: 0, before, after: None };
        let interfaces = BTreeMap::from([(7, "eth0".to_owned())]);
        let told = Told { comment: "drop_orphan: nobody has it", remedy: Some("find it"), interfaces: &interfaces };
        let mut sink = Sink::Lines(Box::new(io::sink()));
        sink.packet(Duration::from_secs(3_661), &packet, &told).unwrap();
        assert_eq!(
            line(Duration::from_millis(86_400_000 + 3_661_007), &packet, "eth0", &told),
            "01:01:01.007 tcp[ack] 10.0.1.2:9 > 192.0.2.10:80, 1500 bytes at eth0\n    drop_orphan: nobody has it\n    what helps: find it"
        );
    }
}
