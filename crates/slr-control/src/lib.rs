//! The control channel at its edge: certificates, sockets, and the tasks that run the conversations of `slr-session`.
//!
//! A router has a [`Hub`]: it takes the connections of its children and meets the other SLRs of its cluster. A host, and
//! an SLR towards the tier above, has a [`ChildLink`] for each parent. Both stand on an [`Endpoint`] (UDP sockets, QUIC)
//! and on [`Trust`] (whom to believe, who we are). All of it runs on tokio, on one thread if the daemon has one; what is
//! decided is decided in `slr-session`, and what is said is written in `slr-wire`.
//!
//! # Who is believed
//!
//! TLS 1.3, both ends with a certificate of their own, ALPN `slr/1`; no resumption and no early data, so that every
//! connection is looked at anew. The chain is verified first, then the revocation list, then the identity in the
//! certificate ([`Rule`]): the trust domain is ours; the one that was dialled has the role and the name that were asked
//! for; the one that dials is a child (by its role) or a peer (by its role and name). Whoever refuses says why and what
//! to do about it in QUIC's close, so that both ends log it.
//!
//! Files are looked at every [`POLL`]. A certificate that is revoked or expires ends its connections within that time;
//! a renewed one is changed over to without a gap. What becomes of the revocation list:
//!
//! | list | new connections | open connections |
//! |---|---|---|
//! | not configured | taken, with a warning at the start | stay |
//! | configured and missing, empty, broken or another authority's at the start | the daemon does not start | |
//! | becomes so later | the last good list is used, with a warning | the same |
//! | past its next update | taken, with a warning; refused with `require_fresh_crl` | stay |
//!
//! # How a connection ends
//!
//! The code of QUIC's close is [`slr_wire::Code`], its reason is `why; what to do`:
//!
//! | number | code | by | what to do |
//! |---|---|---|---|
//! | 0 | going away | either, in order | nothing |
//! | 1 | violation | either: bytes that do not decode, frames over 64 KiB or not whole after 10 s, too many frames | run the same version at both ends; see the log |
//! | 2 | no hello in time | the one dialled | see whether the other node is overloaded |
//! | 3 | silence | the child: no welcome, no acknowledgements | see whether the path loses packets |
//! | 4 | superseded | the parent | nothing, if the node restarted or renewed; else two nodes use one name |
//! | 5–8 | name or tunnel address in use, not allowed, invalid | the parent | correct the configuration or the certificate |
//! | 9 | role | either | connect to the tier above; issue with the right `--role` |
//! | 10 | revoked | either | `slr-ca issue`, if the node is to come back |
//! | 11 | expired | either | `slr-ca renew` |
//! | 12 | removed | the parent: by an operator, or no longer among the peers | name it among the peers |
//! | 13 | full | the parent | raise `connections_max` |
//! | 14 | restart | either | nothing: it is back at once |
//! | 15 | internal | either | see its log |
//!
//! A refused handshake ends with a TLS alert instead, which [`Ending`] translates.
//!
//! # What is bounded
//!
//! Before anything is computed for a stranger: handshakes of one source (address, or /64), then connections, then proof
//! of address when many handshakes are under way, then handshakes. A connection has one stream and holds at most 128 KiB
//! that was not read, 256 KiB of datagrams (the oldest are dropped) and [what waits to be sent](Hub); rates of messages
//! are bounded by the conversations. Ten seconds of silence end it.

mod certificate;
mod child_link;
mod ending;
mod endpoint;
mod hub;
mod line;
mod refusal;
mod run;
mod trust;

pub use certificate::{Certificate, CertificateError, Serial};
pub use child_link::{ChildLink, LinkEvent, LinkStatus};
pub use ending::Ending;
pub use endpoint::{AcceptCounters, BindError, DEFAULT_PORT, Endpoint, EndpointSettings, Target};
pub use hub::{CommandError, ConnectionView, Hub, HubEvent, HubSettings};
pub use refusal::Refusal;
pub use trust::{ALPN, Material, POLL, Rule, Trust, TrustError, TrustFiles};
