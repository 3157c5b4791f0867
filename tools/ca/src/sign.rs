//! What is in the certificates and lists that an authority signs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use slr_model::Identity;

use crate::Moment;
use crate::certificate::serial_bytes;
use crate::folder::{self, Folder, Secrecy};
use crate::index::{Index, RevocationReason};

/// How long a node's certificate is valid unless asked otherwise. Long enough for a quarterly job, short enough that a
/// forgotten node ends by itself.
pub const DEFAULT_DAYS: u32 = 90;
/// How long the authority's own certificate is valid unless asked otherwise.
pub const DEFAULT_CA_DAYS: u32 = 3_650;
/// When a revocation list asks for the next one unless asked otherwise: a monthly job, and some days for its failure to
/// be seen. Nodes go on with a list that is past this (they warn), since what it revokes stays revoked.
pub const DEFAULT_CRL_DAYS: u32 = 35;
/// Certificates begin so much before they are made, for nodes whose clocks are late.
const SKEW: Duration = Duration::from_secs(300);
/// A revoked certificate stays on the list for so long after its end, for nodes whose clocks are late.
const LISTED_AFTER_END: Duration = Duration::from_secs(86_400);

/// The authority's name and key, ready to sign.
pub type Signer = Issuer<'static, KeyPair>;

/// A certificate and its key, as PEM.
pub struct Made {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Makes an authority's certificate, signed by itself. Its name has a part of its key's identifier: a revocation list
/// is found by its authority's name, and while an authority takes over from another, nodes trust two of one domain.
pub fn make_ca(trust_domain: &str, now: Moment, not_after: Moment) -> Result<Made> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let key_id = CertificateParams::default().key_identifier(&key);
    let key_id: String = key_id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = base_params(&format!("slr-ca {trust_domain} {key_id}"), now, not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).context("cannot sign the authority's certificate")?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a node's certificate with a key of its own.
pub fn make_node(signer: &Signer, identity: &Identity, now: Moment, not_after: Moment) -> Result<Made> {
    let mut params = base_params(&identity.name, now, not_after);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Every node may dial and be dialled.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let uris = identity.uris().into_iter().map(|uri| Ok(SanType::URI(uri.try_into()?)));
    params.subject_alt_names = uris.collect::<Result<_>>()?;
    let key = KeyPair::generate().context("cannot make a key")?;
    let certificate = params.signed_by(&key, signer).with_context(|| format!("cannot sign for {identity}"))?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn base_params(common_name: &str, now: Moment, not_after: Moment) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now.before(SKEW).date_time();
    params.not_after = not_after.date_time();
    params
}

/// Signs the revocation list of an index.
pub fn make_crl(signer: &Signer, index: &Index, now: Moment) -> Result<String> {
    let revoked = index.certificates.iter().filter_map(|entry| Some((entry, entry.revoked.as_ref()?)));
    let listed = revoked.filter(|(entry, _)| entry.not_after > now.before(LISTED_AFTER_END));
    let revoked_certs = listed
        .map(|(entry, revocation)| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial_bytes(&entry.serial)?),
                revocation_time: revocation.at.date_time(),
                reason_code: Some(reason_code(revocation.reason)),
                invalidity_date: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let params = CertificateRevocationListParams {
        this_update: now.before(SKEW).date_time(),
        next_update: index.crl_next_update.date_time(),
        crl_number: SerialNumber::from(index.crl_number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(signer).context("cannot sign the revocation list")?;
    list.pem().context("cannot write the revocation list")
}

fn reason_code(reason: RevocationReason) -> rcgen::RevocationReason {
    match reason {
        RevocationReason::Unspecified => rcgen::RevocationReason::Unspecified,
        RevocationReason::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
        RevocationReason::Superseded => rcgen::RevocationReason::Superseded,
        RevocationReason::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
    }
}

/// The authority's key from its folder.
pub fn read_signer(folder: &Folder) -> Result<Signer> {
    let key_path = folder.ca_key();
    let key = KeyPair::from_pem(&folder::read(&key_path)?)
        .with_context(|| format!("{} is not a private key; restore it from a backup", key_path.display()))?;
    let ca = folder::read(&folder.ca())?;
    Issuer::from_ca_cert_pem(&ca, key).map_err(|error| {
        anyhow!("{} is not an authority's certificate: {error}; restore it from a backup", folder.ca().display())
    })
}

/// Writes a node's files into a folder: its key, its certificate, and the authority's certificate and list.
pub fn write_node(out: &Path, name: &str, made: &Made, ca: &str, crl: &str) -> Result<()> {
    folder::make_dir(out, 0o755)?;
    // The key first: a daemon that watches the certificate finds the key that belongs to it.
    folder::write(&out.join(format!("{name}-key.pem")), &made.key, Secrecy::Secret)?;
    folder::write(&out.join(format!("{name}.pem")), &made.certificate, Secrecy::Public)?;
    if !out.join(folder::CA_FILE).exists() {
        folder::write(&out.join(folder::CA_FILE), ca, Secrecy::Public)?;
    }
    folder::write(&out.join(folder::CRL_FILE), crl, Secrecy::Public)
}
