//! Who a node is, as its certificate says: trust domain, role, name, and what it may use and advertise.
//!
//! A certificate carries it as URIs among its subject alternative names. One says who the node is, the others are
//! claims: each grants one thing, and each repeats who it is about, so that a claim cannot be read alone.
//!
//! ```text
//! slr://example.net/host/h1
//! slr://example.net/host/h1?tunnel=10.1.11.2/32
//! slr://example.net/host/h1?subnet=192.0.2.0/24
//! ```
//!
//! The text comes from a certificate, so from outside: lengths and counts are bounded before anything is parsed. URIs
//! of other schemes are somebody else's and are passed over; so are claims of a kind that is not known here, since a
//! claim only ever grants and what is not understood grants nothing.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use thiserror::Error;

use crate::text::{UnknownWord, word_enum};
use crate::{NodeName, NodeNameError, Tier, VirtualSubnet, VirtualSubnetError};

word_enum! {
    /// What a node is: a host, or an SLR of a tier.
    pub enum Role, "a role" {
        /// A physical server.
        Host = "host",
        /// An SLR that chooses a host.
        Site = "site",
        /// An SLR that chooses a site.
        As = "as",
        /// An SLR that chooses an autonomous system.
        Network = "network",
    }
}

impl Role {
    /// The role whose nodes connect to one of this role as its children: hosts to a site, sites to an AS. A host has none.
    pub const fn child(self) -> Option<Role> {
        match self {
            Role::Host => None,
            Role::Site => Some(Role::Host),
            Role::As => Some(Role::Site),
            Role::Network => Some(Role::As),
        }
    }
}

impl From<Tier> for Role {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Site => Role::Site,
            Tier::As => Role::As,
            Tier::Network => Role::Network,
        }
    }
}

/// What a certificate says of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose certificate authority vouches for it.
    pub trust_domain: String,
    /// What it is.
    pub role: Role,
    /// Its name, one node's alone within the trust domain.
    pub name: NodeName,
    /// Addresses at which it takes tunnels, and prefixes from which it sends them.
    pub tunnels: Vec<IpNet>,
    /// Virtual subnets that it may advertise, or parts of.
    pub subnets: Vec<VirtualSubnet>,
}

/// A set of URIs that is no identity. Every message quotes at most [`Identity::QUOTED_MAX`] bytes of what was given.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// No URI says who the node is.
    #[error(
        "the certificate names no node: no URI slr://TRUST-DOMAIN/ROLE/NAME among its alternative names; issue it with slr-ca"
    )]
    Missing,
    /// Two URIs say who the node is, or a claim is another node's.
    #[error("the certificate is for two nodes, \"{first}\" and \"{second}\"; issue one for each")]
    Ambiguous {
        /// The first node, as a URI.
        first: String,
        /// Another one.
        second: String,
    },
    /// A URI is longer than any of ours.
    #[error("a URI of {bytes} bytes, expected at most {}", Identity::URI_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are more URIs or claims than a node can need.
    #[error("more than {max} {what} in one certificate; write larger prefixes")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// A URI of ours has another shape.
    #[error("\"{given}\" is not slr://TRUST-DOMAIN/ROLE/NAME, perhaps with ?tunnel=PREFIX or ?subnet=PREFIX")]
    Shape {
        /// The URI, shortened.
        given: String,
    },
    /// The trust domain cannot be one.
    #[error(
        "\"{given}\" is not a trust domain: expected 1 to {} characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or a digit",
        Identity::TRUST_DOMAIN_MAX
    )]
    TrustDomain {
        /// The text, shortened.
        given: String,
    },
    /// The role is none that is known.
    #[error(transparent)]
    Role(#[from] UnknownWord),
    /// The name cannot be a node's.
    #[error(transparent)]
    Name(#[from] NodeNameError),
    /// A tunnel prefix cannot be one.
    #[error("\"{given}\" is not a tunnel prefix: {reason}")]
    Tunnel {
        /// The text, shortened.
        given: String,
        /// Why not, and what to write instead.
        reason: &'static str,
    },
    /// A subnet cannot be a virtual subnet.
    #[error(transparent)]
    Subnet(#[from] VirtualSubnetError),
}

impl Identity {
    /// The scheme of the URIs.
    pub const SCHEME: &'static str = "slr://";
    /// Longest URI that is read, in bytes. Ours need at most 63 + 63 + 55 and punctuation.
    pub const URI_MAX: usize = 256;
    /// Most URIs that are looked at: every claim there can be, the identity, and some of other schemes.
    pub const URIS_MAX: usize = Self::TUNNELS_MAX + Self::SUBNETS_MAX + 16;
    /// Most tunnel claims: an SLR's sources, both families, several uplinks.
    pub const TUNNELS_MAX: usize = 64;
    /// Most subnet claims. With more, the certificate would not fit into a handshake of a few packets.
    pub const SUBNETS_MAX: usize = 256;
    /// Longest trust domain, in characters: that of a DNS label, as with node names.
    pub const TRUST_DOMAIN_MAX: usize = NodeName::MAX_LEN;
    /// Most bytes of foreign text that an error quotes.
    pub const QUOTED_MAX: usize = 80;

    /// Reads the identity from a certificate's URIs, in any order.
    pub fn from_uris<'a>(uris: impl IntoIterator<Item = &'a str>) -> Result<Self, IdentityError> {
        let mut node: Option<&str> = None;
        let mut named = false;
        let mut claims: Vec<(&str, &str)> = Vec::new();
        for (index, uri) in uris.into_iter().enumerate() {
            if index >= Self::URIS_MAX {
                return Err(IdentityError::TooMany { what: "URIs", max: Self::URIS_MAX });
            }
            if !uri.starts_with(Self::SCHEME) {
                continue;
            }
            if uri.len() > Self::URI_MAX {
                return Err(IdentityError::TooLong { bytes: uri.len() });
            }
            // So that no error below can carry control characters into a log.
            if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(IdentityError::Shape { given: quoted(uri) });
            }
            let (base, claim) = uri.split_once('?').map_or((uri, None), |(base, claim)| (base, Some(claim)));
            match node {
                Some(first) if first != base || (named && claim.is_none()) => {
                    return Err(IdentityError::Ambiguous { first: quoted(first), second: quoted(base) });
                }
                _ => node = Some(base),
            }
            match claim {
                None => named = true,
                Some(claim) => {
                    claims.push(claim.split_once('=').ok_or_else(|| IdentityError::Shape { given: quoted(uri) })?);
                }
            }
        }
        let node = node.filter(|_| named).ok_or(IdentityError::Missing)?;
        let mut identity = Self::from_node_uri(node)?;
        for (kind, value) in claims {
            identity.add_claim(kind, value)?;
        }
        Ok(identity)
    }

    /// Reads `slr://TRUST-DOMAIN/ROLE/NAME`.
    fn from_node_uri(uri: &str) -> Result<Self, IdentityError> {
        let shape = || IdentityError::Shape { given: quoted(uri) };
        let mut parts = uri.strip_prefix(Self::SCHEME).ok_or_else(shape)?.split('/');
        let (Some(domain), Some(role), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(shape());
        };
        check_trust_domain(domain)?;
        // Words that are too long to quote are no role and no name either.
        if role.len() > Self::QUOTED_MAX || name.len() > Self::QUOTED_MAX {
            return Err(shape());
        }
        Ok(Self {
            trust_domain: domain.to_owned(),
            role: role.parse()?,
            name: name.parse()?,
            tunnels: Vec::new(),
            subnets: Vec::new(),
        })
    }

    fn add_claim(&mut self, kind: &str, value: &str) -> Result<(), IdentityError> {
        match kind {
            "tunnel" if self.tunnels.len() == Self::TUNNELS_MAX => {
                Err(IdentityError::TooMany { what: "tunnel claims", max: Self::TUNNELS_MAX })
            }
            "tunnel" => {
                self.tunnels.push(parse_tunnel(value)?);
                Ok(())
            }
            "subnet" if self.subnets.len() == Self::SUBNETS_MAX => {
                Err(IdentityError::TooMany { what: "subnet claims", max: Self::SUBNETS_MAX })
            }
            "subnet" if value.len() > Self::QUOTED_MAX => Err(IdentityError::Shape { given: quoted(value) }),
            "subnet" => {
                self.subnets.push(value.parse()?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The URIs that say this identity; [`Identity::from_uris`] reads them back.
    pub fn uris(&self) -> Vec<String> {
        let tunnels = self.tunnels.iter().map(|tunnel| format!("{self}?tunnel={tunnel}"));
        let subnets = self.subnets.iter().map(|subnet| format!("{self}?subnet={subnet}"));
        std::iter::once(self.to_string()).chain(tunnels).chain(subnets).collect()
    }

    /// Whether the node may take tunnels at this address.
    pub fn allows_tunnel_address(&self, address: IpAddr) -> bool {
        self.tunnels.iter().any(|tunnel| tunnel.contains(&address))
    }

    /// Whether the node may send tunnels from the whole of this prefix.
    pub fn allows_tunnel_prefix(&self, prefix: IpNet) -> bool {
        self.tunnels.iter().any(|tunnel| tunnel.contains(&prefix))
    }

    /// Whether the node may serve this virtual address.
    pub fn allows_virtual_address(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|allowed| allowed.net().contains(&address))
    }

    /// Whether the node may advertise the whole of this range.
    pub fn allows_subnet(&self, subnet: VirtualSubnet) -> bool {
        self.subnets.iter().any(|allowed| allowed.net().contains(&subnet.net()))
    }
}

/// The URI that names the node, without its claims.
impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}{}/{}/{}", Self::SCHEME, self.trust_domain, self.role, self.name)
    }
}

/// Checks that the text can name a trust domain.
pub fn check_trust_domain(text: &str) -> Result<(), IdentityError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edges = text.starts_with(['-', '.']) || text.ends_with(['-', '.']);
    if text.is_empty() || text.len() > Identity::TRUST_DOMAIN_MAX || edges || !text.chars().all(allowed) {
        return Err(IdentityError::TrustDomain { given: quoted(text) });
    }
    Ok(())
}

/// Reads a prefix in which tunnels may begin or end.
fn parse_tunnel(text: &str) -> Result<IpNet, IdentityError> {
    let refused = |reason| IdentityError::Tunnel { given: quoted(text), reason };
    let net: IpNet = text.parse().map_err(|_| refused("write an address and a prefix length, such as 10.1.11.2/32"))?;
    if net.trunc() != net {
        return Err(refused("bits are set behind its prefix; write the prefix, or /32 or /128 for one address"));
    }
    if net.prefix_len() == 0 {
        return Err(refused("it would hold every address; write the prefix that the node uses"));
    }
    if net.addr().is_multicast() || net.addr().is_loopback() {
        return Err(refused("no tunnel begins or ends there; write a unicast address of the node"));
    }
    Ok(net)
}

/// The beginning of a text from outside, on one line.
fn quoted(text: &str) -> String {
    let mut short: String =
        text.chars().take(Identity::QUOTED_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    while short.len() > Identity::QUOTED_MAX {
        short.pop();
    }
    if short.len() < text.len() && short.len() + 3 <= Identity::QUOTED_MAX {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "identity/tests.rs"]
mod tests;
