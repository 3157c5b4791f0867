//! Revocation lists as sets of serial numbers, for connections that are already open.

use std::collections::HashSet;
use std::time::SystemTime;

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::certificate::{Serial, system_time};

/// What the lists of a file say.
#[derive(Clone, Debug, Default)]
pub(super) struct Revoked {
    serials: HashSet<Serial>,
    next_update: Option<SystemTime>,
}

impl Revoked {
    /// Adds a list. That it is the authority's is verified elsewhere.
    pub fn add(&mut self, der: &[u8]) -> Result<(), String> {
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|error| error.to_string())?;
        let issuer = list.issuer().as_raw();
        self.serials.extend(list.iter_revoked_certificates().map(|entry| Serial::new(entry.raw_serial(), issuer)));
        if let Some(next) = list.next_update().map(|time| system_time(time.timestamp())) {
            self.next_update = Some(self.next_update.map_or(next, |earlier| earlier.min(next)));
        }
        Ok(())
    }

    pub fn contains(&self, serial: &Serial) -> bool {
        self.serials.contains(serial)
    }

    /// When the first of the lists should have a successor.
    pub fn next_update(&self) -> Option<SystemTime> {
        self.next_update
    }

    pub fn len(&self) -> usize {
        self.serials.len()
    }
}
