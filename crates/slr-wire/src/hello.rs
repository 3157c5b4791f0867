//! The beginning of a conversation, and its refusal.

use std::net::IpAddr;

use ipnet::IpNet;
use slr_model::Role;

use crate::field::{
    address_bytes, fit, invalid, not_zero, number_within, prefix_bytes, text, tunnel_addresses, tunnel_sources,
};
use crate::{Code, DecodeError, bounds, proto};

/// What a node says first: which start of its process and which connection this is, and where its tunnels begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Strictly larger for each start of the process, never 0.
    pub incarnation: u64,
    /// Larger for each connection that the process opens to the same node, never 0.
    pub session: u64,
    /// Name and version of the program, for people.
    pub software: String,
    /// What the node is, as its certificate says.
    pub role: Role,
    /// Where it takes tunnels, at most one address of each family.
    pub tunnel_addresses: Vec<IpAddr>,
    /// SLRs: prefixes from which it sends tunnels.
    pub tunnel_sources: Vec<IpNet>,
    /// Children: whether it answers an [`Ask`](crate::Ask) with an advert at once.
    pub answers_asks: bool,
}

/// A parent's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session of the Hello.
    pub session: u64,
    /// How often the child adverts.
    pub advert_interval_ms: u32,
    /// Without an advert for this long the child counts as silent.
    pub silent_after_ms: u32,
    /// The parent acknowledges at most once in this time.
    pub ack_interval_ms: u32,
    /// Prefixes from which the parent sends tunnels.
    pub tunnel_sources: Vec<IpNet>,
}

/// Why a node closes the connection, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The code of the close that follows.
    pub code: Code,
    /// What is wrong.
    pub reason: String,
    /// What to do about it; empty if nothing needs doing.
    pub remedy: String,
}

impl Hello {
    pub(crate) fn read(found: proto::Hello) -> Result<Self, DecodeError> {
        let role = match found.role() {
            proto::Role::Host => Role::Host,
            proto::Role::Site => Role::Site,
            proto::Role::As => Role::As,
            proto::Role::Network => Role::Network,
            proto::Role::Unspecified => return Err(invalid("hello.role", format!("{} is no role", found.role))),
        };
        Ok(Self {
            incarnation: not_zero("hello.incarnation", found.incarnation)?,
            session: not_zero("hello.session", found.session)?,
            software: text("hello.software", found.software, bounds::SOFTWARE_MAX)?,
            role,
            tunnel_addresses: tunnel_addresses("hello.tunnel_addresses", &found.tunnel_addresses)?,
            tunnel_sources: tunnel_sources("hello.tunnel_sources", &found.tunnel_sources)?,
            answers_asks: found.answers_asks,
        })
    }

    pub(crate) fn write(&self) -> proto::Hello {
        let role = match self.role {
            Role::Host => proto::Role::Host,
            Role::Site => proto::Role::Site,
            Role::As => proto::Role::As,
            Role::Network => proto::Role::Network,
        };
        proto::Hello {
            incarnation: self.incarnation,
            session: self.session,
            software: fit(&self.software, bounds::SOFTWARE_MAX),
            role: role.into(),
            tunnel_addresses: self.tunnel_addresses.iter().map(|&address| address_bytes(address)).collect(),
            tunnel_sources: self.tunnel_sources.iter().map(|&net| prefix_bytes(net)).collect(),
            answers_asks: self.answers_asks,
        }
    }
}

impl Welcome {
    pub(crate) fn read(found: proto::Welcome) -> Result<Self, DecodeError> {
        let interval = |field, found| number_within(field, found, bounds::INTERVAL_MIN_MS, bounds::INTERVAL_MAX_MS);
        let advert_interval_ms = interval("welcome.advert_interval_ms", found.advert_interval_ms)?;
        Ok(Self {
            session: not_zero("welcome.session", found.session)?,
            advert_interval_ms,
            silent_after_ms: number_within(
                "welcome.silent_after_ms",
                found.silent_after_ms,
                advert_interval_ms + 1,
                bounds::SILENT_AFTER_MAX_MS,
            )?,
            ack_interval_ms: interval("welcome.ack_interval_ms", found.ack_interval_ms)?,
            tunnel_sources: tunnel_sources("welcome.tunnel_sources", &found.tunnel_sources)?,
        })
    }

    pub(crate) fn write(&self) -> proto::Welcome {
        proto::Welcome {
            session: self.session,
            advert_interval_ms: self.advert_interval_ms,
            silent_after_ms: self.silent_after_ms,
            ack_interval_ms: self.ack_interval_ms,
            tunnel_sources: self.tunnel_sources.iter().map(|&net| prefix_bytes(net)).collect(),
        }
    }
}

impl Refused {
    /// A refusal with its reason and what to do about it.
    pub fn new(code: Code, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), remedy: remedy.into() }
    }

    pub(crate) fn read(found: proto::Refused) -> Result<Self, DecodeError> {
        Ok(Self {
            code: Code::from_number(found.code),
            reason: text("refused.reason", found.reason, bounds::REASON_MAX)?,
            remedy: text("refused.remedy", found.remedy, bounds::REASON_MAX)?,
        })
    }

    pub(crate) fn write(&self) -> proto::Refused {
        proto::Refused {
            code: self.code.number(),
            reason: fit(&self.reason, bounds::REASON_MAX),
            remedy: fit(&self.remedy, bounds::REASON_MAX),
        }
    }
}
