//! The certificate authority of a trust domain: a folder with its key, what it issued, and what it revoked.
//!
//! `slr-ca` is the command; tests and benches that need certificates call [`Authority`]. A node's certificate says its
//! role, name, tunnels and virtual subnets in the URIs that `slr_model::Identity` defines; everything else about it is
//! the same for every node: a fresh P-256 key, usable for both ends of TLS 1.3, valid for [`DEFAULT_DAYS`].
//!
//! ```text
//! DIR/ca.pem          the authority's certificate; every node has a copy
//! DIR/ca-key.pem      its key, mode 0600; never leaves this folder
//! DIR/crl.pem         what is revoked, signed anew by every revoke; every node has a copy
//! DIR/index.json      what was issued: serial, identity, validity, revoked
//! DIR/issued/SERIAL.pem  the certificates; keys of nodes are not kept
//! ```
//!
//! A *flow secret* is no part of it: a file of 64 hex digits that the trust domain's routers share ([`make_flow_secret`]).
//!
//! Files are replaced whole (written beside, then renamed), so that a daemon that watches them reads the old or the new
//! one. A lock on the folder keeps two commands from issuing at once.

mod authority;
mod certificate;
mod flow_secret;
mod folder;
mod index;
pub mod moment;
mod sign;

pub use authority::{Authority, IssueRequest, Issued, RevokeWhat};
pub use certificate::Certificate;
pub use flow_secret::make_flow_secret;
pub use folder::{CA_FILE, CRL_FILE};
pub use index::{Entry, Index, Revocation, RevocationReason, Standing};
pub use moment::Moment;
pub use sign::{DEFAULT_CA_DAYS, DEFAULT_CRL_DAYS, DEFAULT_DAYS};
