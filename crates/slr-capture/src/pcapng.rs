//! The file: pcapng, <https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/draft-ietf-opsawg-pcapng.html>.
//!
//! An interface of the file is an interface of the kernel and a side of the program: frames as they came, or as they left. Time
//! stamps are nanoseconds. Big endian: there the writer puts the halves of a statistics block's time in the order that the format
//! has in either byte order.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};
use slr_dataplane::capture::Image;

/// `if_tsresol`: 10^-9 s.
const NANOSECONDS: u8 = 9;
/// `epb_flags`: the direction.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Which frame of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// As it came.
    Before,
    /// As it left, on the wire or to the stack.
    After {
        /// On the wire.
        sent: bool,
    },
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After { .. } => "after",
        }
    }

    fn direction(self) -> u32 {
        if self == (Self::After { sent: true }) { OUTBOUND } else { INBOUND }
    }
}

struct Interface {
    ifindex: u32,
    side: &'static str,
    /// Frames written.
    frames: u64,
}

/// A capture being written.
pub struct File<W: Write> {
    writer: PcapNgWriter<W>,
    snap: u32,
    interfaces: Vec<Interface>,
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

impl<W: Write> File<W> {
    /// Begins a file that `application` writes.
    pub fn new(out: W, application: String, comment: String, snap: u32) -> io::Result<Self> {
        let kernel = |name| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        let os = format!("{} {}", kernel("ostype").trim(), kernel("osrelease").trim());
        let section = SectionHeaderBlock {
            endianness: Endianness::Big,
            options: vec![
                SectionHeaderOption::Comment(comment.into()),
                SectionHeaderOption::Hardware(std::env::consts::ARCH.into()),
                SectionHeaderOption::OS(os.into()),
                SectionHeaderOption::UserApplication(application.into()),
            ],
            ..Default::default()
        };
        let writer = PcapNgWriter::with_section_header(out, section).map_err(io_error)?;
        Ok(Self { writer, snap, interfaces: Vec::new() })
    }

    /// The number of an interface and side in the file; described when it is first met.
    pub fn interface(&mut self, ifindex: u32, name: &str, side: Side) -> io::Result<u32> {
        let side = side.name();
        let known = self.interfaces.iter().position(|known| known.ifindex == ifindex && known.side == side);
        if let Some(known) = known {
            return Ok(known as u32);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snap,
            options: vec![
                InterfaceDescriptionOption::IfName(format!("{name} {side}").into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_block(&block.into_block()).map_err(io_error)?;
        self.interfaces.push(Interface { ifindex, side, frames: 0 });
        Ok(self.interfaces.len() as u32 - 1)
    }

    /// A frame of a packet that came at `at`, since 1970. `name`: of its interface.
    pub fn frame(&mut self, at: Duration, image: &Image, name: &str, side: Side, comment: &str) -> io::Result<()> {
        let interface_id = self.interface(image.ifindex, name, side)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: at,
            original_len: image.len,
            data: Cow::Borrowed(&image.bytes),
            options: vec![EnhancedPacketOption::Comment(comment.into()), EnhancedPacketOption::Flags(side.direction())],
        };
        self.writer.write_block(&block.into_block()).map_err(io_error)?;
        self.interfaces[interface_id as usize].frames += 1;
        Ok(())
    }

    /// What was written so far, out to whoever reads it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    /// Ends the file, at a time since 1970: frames by interface, and with the first one how many packets are missing in all, and why.
    pub fn finish(mut self, at: Duration, missing: u64, comment: &str) -> io::Result<W> {
        let timestamp = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        for (id, interface) in (0..).zip(&self.interfaces) {
            let mut options = Vec::new();
            if id == 0 {
                options.push(InterfaceStatisticsOption::Comment(comment.into()));
                options.push(InterfaceStatisticsOption::IsbIfDrop(missing));
            }
            options.push(InterfaceStatisticsOption::IsbUsrDeliv(interface.frames));
            let block = InterfaceStatisticsBlock { interface_id: id, timestamp, options };
            self.writer.write_block(&block.into_block()).map_err(io_error)?;
        }
        self.flush()?;
        Ok(self.writer.into_inner())
    }
}

#[cfg(test)]
mod tests;
