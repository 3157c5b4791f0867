//! The control channel at its edge: certificates, sockets, and the tasks that run the conversations of `slr-session`.

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
