//! Who is let through a handshake: the chain and the revocation list first, then what the certificate says.

use std::fmt;
use std::sync::{Arc, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use slr_model::{Identity, NodeName, Role};

use crate::Refusal;
use crate::certificate::Certificate;

/// Who may be at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The node that was dialled.
    Dialled {
        /// What it is.
        role: Role,
        /// What it is called.
        name: NodeName,
    },
    /// Whoever dials this node.
    Dialling {
        /// Nodes of this role, by any name, as children.
        children: Option<Role>,
        /// Nodes of this role, by these names, as peers.
        peer_role: Role,
        /// The other members of the cluster.
        peers: Vec<NodeName>,
    },
    /// Whoever reads over HTTPS: routers of the trust domain, of any tier, so that one of them can ask all nodes on a flow's way.
    Reading,
}

/// A rule that may change while handshakes go on.
pub(crate) type SharedRule = Arc<RwLock<Rule>>;

impl Rule {
    /// Whether the rule lets this node in; `own` is our own identity.
    pub fn check(&self, own: &Identity, other: &Identity) -> Result<(), Refusal> {
        if own.trust_domain != other.trust_domain {
            return Err(Refusal::trust_domain(own, other));
        }
        match self {
            Rule::Dialled { role, name } if (*role, name) != (other.role, &other.name) => {
                Err(Refusal::not_dialled(*role, name, other))
            }
            Rule::Dialled { .. } => Ok(()),
            Rule::Dialling { children, .. } if *children == Some(other.role) => Ok(()),
            Rule::Dialling { peer_role, peers, .. } if *peer_role == other.role => match peers.contains(&other.name) {
                true => Ok(()),
                false => Err(Refusal::not_a_peer(own, other)),
            },
            Rule::Dialling { children, .. } => Err(Refusal::role(own, *children, other)),
            Rule::Reading if other.role == Role::Host => Err(Refusal::not_a_reader(other)),
            Rule::Reading => Ok(()),
        }
    }
}

/// Verifies certificates on behalf of one end of a handshake.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Chain and revocation. Every node's certificate is good for both ends, so that this one serves both.
    pub chain: Arc<dyn ClientCertVerifier>,
    pub own: Arc<Identity>,
    pub rule: SharedRule,
}

/// A refusal on its way through rustls, which writes it with `Debug` into the words that go to the other end.
struct ByRule(Refusal);

impl fmt::Debug for ByRule {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for ByRule {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}{}", Refusal::MARK, self.0)
    }
}

impl std::error::Error for ByRule {}

impl Verifier {
    fn verify(&self, leaf: &CertificateDer, above: &[CertificateDer], now: UnixTime) -> Result<(), Error> {
        self.chain.verify_client_cert(leaf, above, now)?;
        let refused = |refusal| CertificateError::Other(OtherError(Arc::new(ByRule(refusal))));
        let certificate = Certificate::from_der(leaf).map_err(|error| refused(Refusal::unreadable(&error)))?;
        let rule = self.rule.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(rule.check(&self.own, &certificate.identity).map_err(refused)?)
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every node has one certificate; there is nothing to choose by a hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, above, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Names are in the rule: a node's name need not be one of DNS.
        self.verify(leaf, above, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
