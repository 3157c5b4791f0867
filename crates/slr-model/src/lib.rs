//! The words of the system as values: names, addresses, services, flows, weights, states.
//!
//! Every other crate depends on this one and this one on none of them. A value that exists is valid: text and
//! numbers are checked where they come in (`FromStr`, serde, `new`), the error names what was given and what is
//! allowed, and `Display` prints what `FromStr` reads. Nothing here reads a clock, does I/O or owns a thread.

mod text;

mod advert;
mod class_name;
mod flow;
mod hop;
mod host;
mod host_trace;
mod identity;
mod key_mask;
mod load;
mod mac;
mod node;
mod placement;
mod policy;
mod service;
mod service_key;
mod subnet;
mod weight;

pub use advert::{Advert, ServiceAdvert};
pub use class_name::{ClassName, ClassNameError};
pub use flow::{FlowKey, FlowKeyError};
pub use hop::{HopId, HopIdError};
pub use host::{HostState, Tier};
pub use host_trace::{HostTrace, TracedDrop, TracedService, TracedSocket};
pub use identity::{Identity, IdentityError, Role, check_trust_domain};
pub use key_mask::{KeyField, KeyMask, KeyMaskError};
pub use load::{LoadName, LoadNameError, Loads, LoadsError};
pub use mac::{MacAddr, MacAddrError};
pub use node::{NodeName, NodeNameError};
pub use placement::PlacementPolicy;
pub use policy::{EchoPolicy, OrphanPolicy};
pub use service::{Protocol, Service, ServiceError};
pub use service_key::{ServiceKey, ServiceKeyError};
pub use subnet::{VirtualSubnet, VirtualSubnetError};
pub use text::UnknownWord;
pub use weight::{Weight, WeightError};
