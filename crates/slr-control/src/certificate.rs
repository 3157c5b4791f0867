//! What this node reads in another's certificate, after its chain was verified.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slr_model::{Identity, IdentityError};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A node's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Who the node is, and what it may use and advertise.
    pub identity: Arc<Identity>,
    /// Its number and who gave it.
    pub serial: Serial,
    /// Valid from then on.
    pub not_before: SystemTime,
    /// Valid until then.
    pub not_after: SystemTime,
}

/// Which certificate: its number, and the authority that gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial {
    number: Box<[u8]>,
    /// DER of the issuer's name.
    issuer: Box<[u8]>,
}

impl Serial {
    /// From DER: the number's bytes and the issuer's name.
    pub fn new(number: &[u8], issuer: &[u8]) -> Self {
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        Self { number: number[zeros..].into(), issuer: issuer.into() }
    }
}

/// As `slr-ca show` prints it.
impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.number.split_first() {
            None => formatter.write_str("0"),
            Some((first, rest)) => {
                write!(formatter, "{first:x}")?;
                rest.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }
    }
}

/// Why a certificate names no node.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// It is no X.509 certificate.
    #[error("it is no X.509 certificate: {0}")]
    Der(String),
    /// It names no node, or not in our way.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Certificate {
    /// Reads a certificate. Nothing is verified here.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (_, found) = X509Certificate::from_der(der).map_err(|error| CertificateError::Der(error.to_string()))?;
        let names = found.subject_alternative_name().map_err(|error| CertificateError::Der(error.to_string()))?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let validity = found.validity();
        Ok(Self {
            identity: Arc::new(Identity::from_uris(uris)?),
            serial: Serial::new(found.raw_serial(), found.issuer().as_raw()),
            not_before: system_time(validity.not_before.timestamp()),
            not_after: system_time(validity.not_after.timestamp()),
        })
    }

    /// Whether less than a third of its life is left: time to renew.
    pub fn is_due(&self, now: SystemTime) -> bool {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_after.duration_since(now).unwrap_or_default() < life / 3
    }
}

/// Seconds after 1970 as a point in time; what is before 1970 is 1970.
pub(crate) fn system_time(unix_s: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_s).unwrap_or(0))
}
