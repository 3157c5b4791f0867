//! What a certificate file says, as the nodes will read it.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use slr_model::Identity;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use crate::Moment;

/// The first certificate of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Lower-case hexadecimal, without leading zeros.
    pub serial: String,
    /// Who issued it, as text.
    pub issuer: String,
    /// Whom it is for; none if it is an authority's.
    pub identity: Option<Identity>,
    /// Valid from then on.
    pub not_before: Moment,
    /// Valid until then.
    pub not_after: Moment,
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a certificate that slr-ca issues", path.display()))
    }

    /// Reads the first certificate of a PEM text.
    pub fn parse(pem: &[u8]) -> Result<Self> {
        let pem = Pem::iter_from_buffer(pem)
            .find(|block| block.as_ref().is_ok_and(|block| block.label == "CERTIFICATE"))
            .context("no block BEGIN CERTIFICATE in it")??;
        let certificate = pem.parse_x509().map_err(|error| anyhow!("its DER cannot be read: {error}"))?;
        let moment = |time: x509_parser::time::ASN1Time| {
            Moment::from_unix(time.timestamp()).context("its validity is outside the calendar")
        };
        Ok(Self {
            serial: serial_text(certificate.raw_serial()),
            issuer: certificate.issuer().to_string(),
            identity: if certificate.is_ca() { None } else { Some(identity(&certificate)?) },
            not_before: moment(certificate.validity().not_before)?,
            not_after: moment(certificate.validity().not_after)?,
        })
    }
}

fn identity(certificate: &X509Certificate) -> Result<Identity> {
    let Ok(names) = certificate.subject_alternative_name() else { bail!("its alternative names cannot be read") };
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    Ok(Identity::from_uris(uris)?)
}

/// A serial number as text.
pub fn serial_text(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match hex.trim_start_matches('0') {
        "" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// The bytes of a serial number, without leading zeros.
pub fn serial_bytes(text: &str) -> Result<Vec<u8>> {
    let refused =
        || format!("\"{text}\" is not a serial number: expected hexadecimal digits, as slr-ca show prints them");
    // RFC 5280 4.1.2.2: at most 20 octets.
    if text.is_empty() || text.len() > 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!(refused());
    }
    let even = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    (0..even.len()).step_by(2).map(|at| u8::from_str_radix(&even[at..at + 2], 16).with_context(refused)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_hexadecimal_without_leading_zeros() {
        assert_eq!(serial_text(&[0, 0x0a, 0xff]), "aff");
        assert_eq!(serial_bytes("aff").unwrap(), [0x0a, 0xff]);
        assert_eq!(serial_text(&[0]), "0");
        for bad in ["", "xyz", "é1", &"f".repeat(41)] {
            assert!(serial_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_that_is_no_certificate_is_refused() {
        for bad in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Certificate::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
