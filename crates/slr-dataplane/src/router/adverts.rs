//! What hosts say of their flows by way of their clients: the keys by which the program knows it, and what it has found authentic.

use std::os::fd::{AsRawFd, RawFd};

use super::Router;
use crate::abi::{Pod, advert_master, advert_record};
use crate::records::Records;
use crate::table::MapError;

/// Records that are taken at once: a thousand flows of a few microseconds each, then everything else has its turn.
const AT_ONCE: usize = 64;

/// The datagrams of clients' answers: whole, from their IP headers on, authentic and taken once. What the program has checked is
/// docs/wire.md's ("The augmented echo"). Its descriptor is readable when there are some.
pub struct AdvertReader(Records<Vec<u8>>);

impl AdvertReader {
    /// What has come since. More may be there: to be called until it returns nothing.
    pub fn take(&mut self) -> Result<Vec<Vec<u8>>, MapError> {
        self.0.take()
    }
}

impl AsRawFd for AdvertReader {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// None if the record is not of its length.
fn datagram_of(record: &[u8]) -> Option<Vec<u8>> {
    let record = advert_record::from_bytes(record)?;
    Some(record.datagram.get(..record.len as usize)?.to_vec())
}

impl Router {
    /// The reader of adverts; one at a time, since two would each see a part.
    pub fn advert_reader(&self) -> Result<AdvertReader, MapError> {
        Records::open(&self.loaded, "adverts", AT_ONCE, datagram_of).map(AdvertReader)
    }

    /// The epochs whose keys are accepted from now on, with their master keys as bytes: five at most. None: no advert is.
    pub fn set_advert_masters(&self, masters: &[(u32, [u8; 16])]) -> Result<(), MapError> {
        let table = &self.tables.advert_masters;
        let mut known = Vec::new();
        table.for_each(|epoch, master| known.push((epoch, master)))?;
        // Before the old ones go, so that what is good before and after is good all the time. The table has room for both.
        let gone = known.iter().filter(|(epoch, _)| !masters.iter().any(|(wanted, _)| wanted == epoch));
        for (epoch, _) in gone.clone().skip(SPARE) {
            table.remove(epoch)?;
        }
        for (epoch, key) in masters {
            let half = |at: usize| u64::from_ne_bytes(key[at..at + 8].try_into().expect("half of it"));
            table.put(epoch, &advert_master { key: [half(0), half(8)] })?;
        }
        for (epoch, _) in gone {
            table.remove(epoch)?;
        }
        Ok(())
    }
}

/// Old epochs that the table has room for beside the new ones.
const SPARE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_datagram() {
        let mut record = advert_record::zeroed();
        (record.len, record.datagram[0], record.datagram[363]) = (364, 0x45, 9);
        let datagram = datagram_of(record.bytes()).unwrap();
        assert_eq!((datagram.len(), datagram[0], datagram[363]), (364, 0x45, 9));
        assert_eq!(datagram_of(&record.bytes()[1..]), None);
        record.len = 385;
        assert_eq!(datagram_of(record.bytes()), None, "longer than its room");
    }
}
