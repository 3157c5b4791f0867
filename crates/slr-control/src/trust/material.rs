//! What the files of trust amount to at one moment: whom to believe, who we are, who is revoked.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use slr_wire::Code;

use super::files::Contents;
use super::revoked::Revoked;
use super::{TrustError, TrustFiles};
use crate::Refusal;
use crate::certificate::Certificate;
use crate::endpoint::ResetKey;

/// Certificates, key and revocation list, read together. Never changes; a change makes another one.
pub struct Material {
    own: Certificate,
    pub(super) key: Arc<CertifiedKey>,
    reset_key: ResetKey,
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) provider: Arc<CryptoProvider>,
    revoked: Revoked,
    has_crl: bool,
    /// The file of authorities as it was.
    ca: Vec<u8>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.debug_struct("Material").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Material {
    pub(super) fn new(files: &TrustFiles, contents: &Contents) -> Result<Self, TrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for der in certificates(&files.ca, &contents.ca)? {
            roots.add(der).map_err(|error| TrustError::content(&files.ca, error))?;
        }
        let roots = Arc::new(roots);
        let leaf_and_above = certificates(&files.certificate, &contents.certificate)?;
        let own = Certificate::from_der(&leaf_and_above[0])
            .map_err(|error| TrustError::content(&files.certificate, error))?;
        let key =
            PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| TrustError::content(&files.key, error))?;
        let reset_key = ResetKey::of(key.secret_der());
        let signing = provider.key_provider.load_private_key(key);
        let signing = signing.map_err(|error| TrustError::content(&files.key, error))?;
        let key = CertifiedKey::new(leaf_and_above, signing);
        key.keys_match()
            .map_err(|_| TrustError::KeyMismatch { certificate: files.certificate.clone(), key: files.key.clone() })?;
        let lists = revocation_lists(files, contents)?;
        let mut revoked = Revoked::default();
        for list in &lists {
            revoked.add(list).map_err(|error| TrustError::list(files, error))?;
        }
        let has_crl = !lists.is_empty();
        let chain = chain_verifier(files, &roots, lists, &provider)?;
        let ca = contents.ca.clone();
        let material = Self { own, key: Arc::new(key), reset_key, chain, provider, revoked, has_crl, ca };
        material.check_own(files, &roots)?;
        Ok(material)
    }

    /// This node's certificate.
    pub fn own(&self) -> &Certificate {
        &self.own
    }

    /// What makes this node's resets of connections that its daemon does not know.
    pub(crate) fn reset_key(&self) -> &ResetKey {
        &self.reset_key
    }

    /// Whether a certificate is revoked.
    pub fn is_revoked(&self, certificate: &Certificate) -> bool {
        self.revoked.contains(&certificate.serial)
    }

    /// Whether a certificate that was accepted once is still good.
    pub fn check(&self, certificate: &Certificate, now: SystemTime) -> Result<(), (Code, Refusal)> {
        if self.is_revoked(certificate) {
            return Err((Code::Revoked, Refusal::revoked(&certificate.identity)));
        }
        if certificate.not_after < now {
            return Err((Code::Expired, Refusal::expired(&certificate.identity)));
        }
        Ok(())
    }

    /// Whether a chain that was accepted once still would be: for a change of the authority.
    pub(crate) fn check_chain(&self, chain: &[CertificateDer], now: UnixTime) -> Result<(), rustls::Error> {
        let (leaf, above) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.chain.verify_client_cert(leaf, above, now).map(drop)
    }

    /// Whether the authorities are the same as another time.
    pub(crate) fn same_authorities(&self, other: &Self) -> bool {
        self.ca == other.ca
    }

    /// How many certificates are revoked.
    pub fn revoked_count(&self) -> usize {
        self.revoked.len()
    }

    /// When the revocation list should have a successor.
    pub fn crl_next_update(&self) -> Option<SystemTime> {
        self.revoked.next_update()
    }

    /// What an operator should know about these files, each with what to do.
    pub fn warnings(&self, now: SystemTime) -> Vec<Refusal> {
        let mut warnings = Vec::new();
        let own = &self.own.identity;
        if let Err((_, Refusal { why, remedy })) = self.check(&self.own, now) {
            warnings.push(Refusal::new(format!("our own certificate: {why}"), remedy));
        } else if self.own.not_before > now {
            warnings.push(Refusal::new("our own certificate is not valid yet", "check this node's clock"));
        } else if self.own.is_due(now) {
            let remedy = format!("renew it with slr-ca renew {}", own.name);
            warnings.push(Refusal::new("our own certificate ends soon", remedy));
        }
        match self.revoked.next_update() {
            Some(next) if next < now => warnings.push(Refusal::new(
                "the revocation list is past its next update",
                "sign it again with slr-ca sign-crl and copy it here",
            )),
            Some(_) => {}
            None if self.has_crl => {}
            None => warnings.push(Refusal::new(
                "no revocation list is configured: revoked certificates are accepted",
                "copy crl.pem here and name it",
            )),
        }
        warnings
    }

    /// Checks that the authority is the one that issued our own certificate and the revocation list. That we are expired
    /// or revoked is no mistake in the files: others will say so, and a renewal may come any time.
    fn check_own(&self, files: &TrustFiles, roots: &Arc<RootCertStore>) -> Result<(), TrustError> {
        let at = self.own.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(at);
        let without_list = WebPkiClientVerifier::builder_with_provider(roots.clone(), self.provider.clone()).build();
        let without_list = without_list.map_err(|error| TrustError::content(&files.ca, error))?;
        let (leaf, above) = self.key.cert.split_first().expect("a certificate file without one was refused");
        without_list.verify_client_cert(leaf, above, at).map_err(|error| TrustError::NotIssuedBy {
            certificate: files.certificate.clone(),
            ca: files.ca.clone(),
            why: error.to_string(),
        })?;
        use rustls::CertificateError::{ExpiredRevocationListContext, Revoked};
        match self.chain.verify_client_cert(leaf, above, at) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(Revoked | ExpiredRevocationListContext { .. })) => Ok(()),
            Err(error) => Err(TrustError::list(files, error)),
        }
    }
}

fn certificates(path: &std::path::Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TrustError::content(path, error))?;
    if found.is_empty() { Err(TrustError::content(path, "no block BEGIN CERTIFICATE in it")) } else { Ok(found) }
}

fn revocation_lists(
    files: &TrustFiles,
    contents: &Contents,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TrustError> {
    let Some(pem) = &contents.crl else {
        return Ok(Vec::new());
    };
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = lists.map_err(|error| TrustError::list(files, error))?;
    // An empty file would revoke nothing, silently.
    if lists.is_empty() { Err(TrustError::list(files, "no block BEGIN X509 CRL in it")) } else { Ok(lists) }
}

fn chain_verifier(
    files: &TrustFiles,
    roots: &Arc<RootCertStore>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).with_crls(lists);
    if files.require_fresh_crl {
        builder = builder.enforce_revocation_expiration();
    }
    builder.build().map_err(|error| TrustError::list(files, error))
}
