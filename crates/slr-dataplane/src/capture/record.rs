//! A captured packet, out of the record that the program wrote.

use std::time::Duration;

use crate::abi::{Pod, capture_record};

/// What XDP did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Discarded; also by a program that failed.
    Drop,
    /// To the kernel's stack.
    Pass,
    /// Out of the interface that it came in on.
    Tx,
    /// Out of another.
    Redirect,
}

/// A frame, or its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The interface's index.
    pub ifindex: u32,
    /// Bytes of the whole frame.
    pub len: u32,
    /// The first of them.
    pub bytes: Vec<u8>,
}

/// A captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it came, on the monotonic clock.
    pub at: Duration,
    /// Number of the reason that it ended by.
    pub reason: u32,
    /// What was done with it.
    pub action: Action,
    /// Index of the hop that it goes to; 0: none.
    pub hop: u16,
    /// As it came.
    pub before: Image,
    /// As it left; none if it did not, or left as it came.
    pub after: Option<Image>,
}

impl Captured {
    /// None if the record contradicts itself.
    pub(super) fn from_record(bytes: &[u8]) -> Option<Self> {
        let (head, images) = bytes.split_at_checked(size_of::<capture_record>())?;
        let record = capture_record::from_bytes(head)?;
        // The ring hands out what was written, in whole words.
        let (before, rest) = images.split_at_checked(record.before_kept as usize)?;
        let after = rest.get(..record.after_kept as usize)?;
        let image = |ifindex, len, bytes: &[u8]| Image { ifindex, len, bytes: bytes.to_vec() };
        Some(Self {
            at: Duration::from_nanos(record.at_ns),
            reason: record.reason,
            action: match record.verdict {
                2 => Action::Pass,
                3 => Action::Tx,
                4 => Action::Redirect,
                _ => Action::Drop,
            },
            hop: u16::try_from(record.hop).ok()?,
            before: image(record.ifindex, record.before_len, before),
            after: (record.after_len > 0).then(|| image(record.out_ifindex, record.after_len, after)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_whole_or_not_at_all() {
        let mut record = capture_record { at_ns: 5, reason: 2, verdict: 3, hop: 7, ..capture_record::zeroed() };
        (record.ifindex, record.before_len, record.before_kept) = (4, 90, 3);
        (record.out_ifindex, record.after_len, record.after_kept) = (5, 110, 2);
        let bytes = [record.bytes(), b"abcde"].concat();
        let captured = Captured::from_record(&bytes).unwrap();
        assert_eq!((captured.at.as_nanos(), captured.reason, captured.action, captured.hop), (5, 2, Action::Tx, 7));
        assert_eq!(captured.before, Image { ifindex: 4, len: 90, bytes: b"abc".to_vec() });
        assert_eq!(captured.after, Some(Image { ifindex: 5, len: 110, bytes: b"de".to_vec() }));
        assert_eq!(Captured::from_record(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Captured::from_record(&bytes[..47]), None);
        (record.after_len, record.after_kept) = (0, 0);
        assert_eq!(Captured::from_record(&[record.bytes(), b"abc"].concat()).unwrap().after, None);
    }
}
