//! The control channel at its edge: certificates, sockets, and the tasks that run the conversations of `slr-session`.

mod certificate;
mod ending;
mod endpoint;
mod line;
mod refusal;
mod trust;

pub use certificate::{Certificate, CertificateError, Serial};
pub use ending::Ending;
pub use endpoint::{AcceptCounters, BindError, DEFAULT_PORT, Endpoint, EndpointSettings, Target};
pub use refusal::Refusal;
pub use trust::{ALPN, Material, POLL, Rule, Trust, TrustError, TrustFiles};
