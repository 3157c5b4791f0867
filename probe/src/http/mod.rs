//! As much of HTTP/1.1 (RFC 9112) as an instrument needs, for both ends: message heads and body framing.
//!
//! Written here rather than taken from a library because a probe has to say *where* an exchange broke (no byte came,
//! the head was cut, the body was short), and because nothing may be retried or reused behind its back.
//! Left out on purpose: trailers' meaning, `Expect`, upgrades, pipelining by the client, obsolete line folding.

pub mod body;
pub mod head;
