//! Captures in and out: classic pcap files, read and written packet by packet.
//!
//! The raw layer of `pcap-file` is used because the cooked one refuses frames that the snap length cut.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket};

/// First bytes of a pcapng file: the type of its section header block.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Snap length of what is written: a tunnel header makes frames longer than the input's.
const SNAP_LEN: u32 = 262_144;

/// One frame of a capture.
pub struct Frame {
    /// Its number, from 1.
    pub n: u64,
    seconds: u32,
    fraction: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A capture being read.
pub struct Source {
    path: PathBuf,
    reader: PcapReader<BufReader<File>>,
    read: u64,
    cut: u64,
}

impl Source {
    /// Opens a capture and checks that it is one of Ethernet frames.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).with_context(|| format!("{shown} is too short for a capture"))?;
        if magic == PCAPNG {
            bail!("{shown} is a pcapng file, which replay does not read; convert it: editcap -F pcap {shown} NEW.pcap");
        }
        file.rewind().with_context(|| format!("cannot read {shown} from its start"))?;
        let reader = PcapReader::new(BufReader::new(file))
            .with_context(|| format!("{shown} is no pcap file; write one with tcpdump -w FILE"))?;
        let link = reader.header().datalink;
        if link != DataLink::ETHERNET {
            bail!(
                "{shown} holds {link:?} frames, and replay feeds Ethernet frames to XDP; capture on an Ethernet interface \
                 (not on \"any\" or a tunnel)"
            );
        }
        Ok(Self { path: path.to_owned(), reader, read: 0, cut: 0 })
    }

    /// The next frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let Some(packet) = self.reader.next_raw_packet() else { return Ok(None) };
        self.read += 1;
        let packet = packet.with_context(|| {
            format!("{}: frame {} cannot be read; the capture ends in the middle of it", self.path.display(), self.read)
        })?;
        self.cut += u64::from(packet.incl_len < packet.orig_len);
        Ok(Some(Frame {
            n: self.read,
            seconds: packet.ts_sec,
            fraction: packet.ts_frac,
            data: packet.data.into_owned(),
        }))
    }

    /// How many frames so far were cut by the snap length.
    pub fn cut(&self) -> u64 {
        self.cut
    }
}

/// A capture being written.
pub struct Sink {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
}

impl Sink {
    /// Creates a capture whose time stamps have the resolution of `source`.
    pub fn create(path: &Path, source: &Source) -> Result<Self> {
        let shown = path.display();
        if same_file(path, &source.path) {
            bail!("{shown} is the capture that is read; name another file for --out");
        }
        let header = PcapHeader { snaplen: SNAP_LEN, ..source.reader.header() };
        let file = File::create(path).with_context(|| format!("cannot create {shown}"))?;
        let writer =
            PcapWriter::with_header(BufWriter::new(file), header).with_context(|| format!("cannot write {shown}"))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Writes what became of `frame`, at its time.
    pub fn write(&mut self, frame: &Frame, data: Vec<u8>) -> Result<()> {
        let len = u32::try_from(data.len()).context("a frame of more than 4 GiB")?;
        let packet = RawPcapPacket {
            ts_sec: frame.seconds,
            ts_frac: frame.fraction,
            incl_len: len,
            orig_len: len,
            data: Cow::Owned(data),
        };
        self.writer.write_raw_packet(&packet).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }

    /// Writes what is still buffered.
    pub fn finish(self) -> Result<()> {
        self.writer.into_writer().flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::TsResolution;

    fn write_capture(path: &Path, header: PcapHeader, frames: &[(u32, u32, &[u8])]) {
        let mut writer = PcapWriter::with_header(File::create(path).unwrap(), header).unwrap();
        for &(ts_frac, orig_len, data) in frames {
            let incl_len = data.len() as u32;
            let packet = RawPcapPacket { ts_sec: 7, ts_frac, incl_len, orig_len, data: data.into() };
            writer.write_raw_packet(&packet).unwrap();
        }
    }

    #[test]
    fn times_survive_and_cut_frames_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
        let header = PcapHeader { ts_resolution: TsResolution::NanoSecond, snaplen: 4, ..PcapHeader::default() };
        write_capture(&input, header, &[(123_456_789, 3, b"abc"), (5, 99, b"defg")]);
        let mut source = Source::open(&input).unwrap();
        let mut sink = Sink::create(&output, &source).unwrap();
        while let Some(frame) = source.next_frame().unwrap() {
            sink.write(&frame, vec![frame.n as u8; 30]).unwrap();
        }
        sink.finish().unwrap();
        assert_eq!(source.cut(), 1);
        let mut copy = Source::open(&output).unwrap();
        let first = copy.next_frame().unwrap().unwrap();
        assert_eq!((first.seconds, first.fraction, &first.data[..]), (7, 123_456_789, &[1; 30][..]));
        assert_eq!(copy.next_frame().unwrap().unwrap().n, 2);
        assert!(copy.next_frame().unwrap().is_none());
    }

    #[test]
    fn files_that_cannot_be_replayed_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        let refusal = |path: &Path| format!("{:#}", Source::open(path).err().expect("refused"));
        assert!(refusal(&path).contains("cannot open"));
        fs::write(&path, [0x0a, 0x0d, 0x0d, 0x0a, 1, 2, 3, 4]).unwrap();
        assert!(refusal(&path).contains("editcap -F pcap"));
        fs::write(&path, [0; 64]).unwrap();
        assert!(refusal(&path).contains("is no pcap file"));
        write_capture(&path, PcapHeader { datalink: DataLink::LINUX_SLL, ..PcapHeader::default() }, &[]);
        assert!(refusal(&path).contains("LINUX_SLL frames"), "{}", refusal(&path));
        write_capture(&path, PcapHeader::default(), &[(0, 3, b"abc")]);
        let source = Source::open(&path).unwrap();
        assert!(Sink::create(&path, &source).err().unwrap().to_string().contains("name another file"));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = Source::open(&path).unwrap().next_frame().err().unwrap().to_string();
        assert!(error.contains("frame 1 cannot be read"), "{error}");
    }
}
