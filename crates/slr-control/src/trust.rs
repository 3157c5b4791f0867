//! Whom this node believes and who it is: certificates from files that may change at any time.
//!
//! [`Trust`] holds the newest [`Material`] that was good. The daemon's endpoint polls the files (see [`POLL`]) and closes
//! the connections of nodes that are revoked or expired since; a renewed certificate of our own serves every handshake
//! from then on. Files that cannot be read, or do not fit each other (a copy may be half done), change nothing: what was
//! good stays in force, and a warning says what is wrong.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use slr_model::{NodeName, Role};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

mod files;
mod material;
mod revoked;
mod verifier;

pub use files::TrustFiles;
pub use material::Material;
pub use verifier::Rule;
pub(crate) use verifier::SharedRule;

use files::{Contents, Stamp};
use verifier::Verifier;

/// How often the files are looked at: with the time to act, far less than the two seconds in which a revocation must hold.
pub const POLL: Duration = Duration::from_millis(400);
/// The name and version of what is spoken inside TLS.
pub const ALPN: &[u8] = b"slr/1";
/// The same of HTTPS.
const HTTP: &[u8] = b"http/1.1";

/// Certificates, key and revocation list, as new as the files are.
pub struct Trust {
    files: TrustFiles,
    current: watch::Sender<Arc<Material>>,
    seen: Mutex<Seen>,
}

/// What the files were when they were last looked at.
struct Seen {
    stamp: Stamp,
    contents: Contents,
    /// The files changed just now, or did not fit each other: look again next time, whatever their stamps say. File
    /// systems stamp in steps of some milliseconds.
    again: bool,
    /// The last complaint, so that it is not repeated.
    complaint: Option<String>,
}

/// What is wrong with the files.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; slr-ca issue writes it, and the daemon must be allowed to read it", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path} is not what slr-ca writes: {why}; copy it again", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key is another certificate's.
    #[error("{key} is not the key of {certificate}; copy both from one slr-ca issue or renew", key = key.display(), certificate = certificate.display())]
    KeyMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate is another authority's.
    #[error("{certificate} was not issued by {ca} ({why}); copy both from the authority of this trust domain", certificate = certificate.display(), ca = ca.display())]
    NotIssuedBy {
        /// The certificate.
        certificate: PathBuf,
        /// The authority.
        ca: PathBuf,
        /// What the verifier says.
        why: String,
    },
}

impl TrustError {
    fn content(path: &Path, why: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), why: why.to_string() }
    }

    fn list(files: &TrustFiles, why: impl ToString) -> Self {
        Self::content(files.crl.as_deref().unwrap_or(Path::new("the revocation list")), why)
    }
}

impl Trust {
    /// Reads the files, which must be good now.
    pub fn load(files: TrustFiles) -> Result<Arc<Self>, TrustError> {
        let stamp = files.stamp();
        let contents = files.read()?;
        let material = Arc::new(Material::new(&files, &contents)?);
        material.warnings(SystemTime::now()).iter().for_each(|warning| warn!("{warning}"));
        let seen = Mutex::new(Seen { stamp, contents, again: true, complaint: None });
        Ok(Arc::new(Self { files, current: watch::Sender::new(material), seen }))
    }

    /// The newest that was good.
    pub fn current(&self) -> Arc<Material> {
        self.current.borrow().clone()
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Material>> {
        self.current.subscribe()
    }

    /// Looks at the files and takes them in if they changed and are good. Answers whether anything changed.
    pub fn poll(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let stamp = self.files.stamp();
        if !seen.again && stamp == seen.stamp {
            return false;
        }
        let moved = stamp != seen.stamp;
        seen.stamp = stamp;
        let taken = self.files.read().and_then(|contents| {
            if contents == seen.contents {
                return Ok(None);
            }
            Ok(Some((Arc::new(Material::new(&self.files, &contents)?), contents)))
        });
        match taken {
            Ok(None) => {
                seen.again = moved;
                seen.complaint = None;
                false
            }
            Ok(Some((material, contents))) => {
                (seen.contents, seen.again, seen.complaint) = (contents, true, None);
                self.announce(material);
                true
            }
            Err(error) => {
                let complaint = error.to_string();
                // Said once, and only if it lasts: between two files of a copy they do not fit each other.
                if seen.complaint.as_ref() == Some(&complaint) && seen.again {
                    warn!("{complaint}; what was read before stays in force");
                    seen.again = false;
                } else if seen.complaint.as_ref() != Some(&complaint) {
                    (seen.complaint, seen.again) = (Some(complaint), true);
                }
                false
            }
        }
    }

    fn announce(&self, material: Arc<Material>) {
        info!(
            serial = %material.own().serial,
            revoked = material.revoked_count(),
            "certificates were read again"
        );
        material.warnings(SystemTime::now()).iter().for_each(|warning| warn!("{warning}"));
        self.current.send_replace(material);
    }
}

impl Material {
    /// TLS for the end that is dialled.
    pub(crate) fn server_tls(&self, rule: SharedRule) -> QuicServerConfig {
        let mut tls = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(self.verifier(rule))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.key.clone())));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the certificate, and with it revocation.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        QuicServerConfig::try_from(tls).expect("the provider has QUIC's first cipher suite")
    }

    /// TLS for the end that dials.
    pub(crate) fn client_tls(&self, rule: Rule) -> QuicClientConfig {
        QuicClientConfig::try_from(self.client_config(rule, ALPN)).expect("the provider has QUIC's first cipher suite")
    }

    fn client_config(&self, rule: Rule, spoken: &[u8]) -> rustls::ClientConfig {
        let mut tls = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(Arc::new(RwLock::new(rule))))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.key.clone())));
        tls.alpn_protocols = vec![spoken.to_vec()];
        tls.resumption = Resumption::disabled();
        tls.enable_sni = false;
        tls
    }

    /// TLS for HTTPS towards whoever may read: see [`Rule::Reading`].
    pub fn https_server(&self) -> Arc<rustls::ServerConfig> {
        let mut tls = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(self.verifier(Arc::new(RwLock::new(Rule::Reading))))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.key.clone())));
        tls.alpn_protocols = vec![HTTP.to_vec()];
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        Arc::new(tls)
    }

    /// TLS for HTTPS to the node of that role and name.
    pub fn https_client(&self, role: Role, name: NodeName) -> Arc<rustls::ClientConfig> {
        Arc::new(self.client_config(Rule::Dialled { role, name }, HTTP))
    }

    fn verifier(&self, rule: SharedRule) -> Arc<Verifier> {
        Arc::new(Verifier { chain: self.chain.clone(), own: self.own().identity.clone(), rule })
    }
}
