//! What an authority issued and revoked.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_model::{Identity, NodeName, Role, VirtualSubnet};

use crate::folder::{self, Secrecy};
use crate::moment::human;
use crate::{Certificate, Moment};

const VERSION: u32 = 1;

/// The file `index.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    version: u32,
    /// Whose authority this is.
    pub trust_domain: String,
    /// Number of the newest revocation list.
    pub crl_number: u64,
    /// When a newer revocation list is due.
    pub crl_next_update: Moment,
    /// Every certificate, oldest first.
    pub certificates: Vec<Entry>,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Lower-case hexadecimal, without leading zeros.
    pub serial: String,
    /// What the node is.
    pub role: Role,
    /// What it is called.
    pub name: NodeName,
    /// Where it takes tunnels, and from where it sends them.
    pub tunnels: Vec<IpNet>,
    /// What it may advertise.
    pub subnets: Vec<VirtualSubnet>,
    /// Valid from then on.
    pub not_before: Moment,
    /// Valid until then.
    pub not_after: Moment,
    /// Whether and why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// When and why a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// When.
    pub at: Moment,
    /// Why.
    pub reason: RevocationReason,
}

/// Reasons of RFC 5280 5.3.1 that a node's certificate can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// Another certificate takes its place.
    Superseded,
    /// The node is no more.
    CessationOfOperation,
    /// The node may not do what it did.
    PrivilegeWithdrawn,
}

/// What a certificate is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Accepted, for so many seconds more.
    Valid(i64),
    /// Was accepted until so many seconds ago.
    Expired(i64),
    /// Not accepted any more.
    Revoked,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Standing::Valid(seconds) => write!(formatter, "valid, {} left", human(*seconds)),
            Standing::Expired(seconds) => write!(formatter, "expired {} ago", human(*seconds)),
            Standing::Revoked => formatter.write_str("revoked"),
        }
    }
}

impl Entry {
    /// What the index keeps of a certificate.
    pub fn new(certificate: &Certificate, identity: Identity) -> Self {
        Self {
            serial: certificate.serial.clone(),
            role: identity.role,
            name: identity.name,
            tunnels: identity.tunnels,
            subnets: identity.subnets,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            revoked: None,
        }
    }

    /// What it is worth at this moment.
    pub fn standing(&self, now: Moment) -> Standing {
        let left = self.not_after.unix() - now.unix();
        match self.revoked {
            Some(_) => Standing::Revoked,
            None if left < 0 => Standing::Expired(-left),
            None => Standing::Valid(left),
        }
    }

    /// Whether less than a third of its life is left: time to renew.
    pub fn is_due(&self, now: Moment) -> bool {
        let life = self.not_after.unix() - self.not_before.unix();
        matches!(self.standing(now), Standing::Valid(left) if left < life / 3)
    }
}

impl Index {
    /// The index of an authority that issued nothing yet.
    pub fn new(trust_domain: &str, crl_next_update: Moment) -> Self {
        Self {
            version: VERSION,
            trust_domain: trust_domain.to_owned(),
            crl_number: 0,
            crl_next_update,
            certificates: Vec::new(),
        }
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = folder::read(path)?;
        let index: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not an index of slr-ca; restore it from a backup", path.display()))?;
        if index.version != VERSION {
            bail!("{} has version {}, this slr-ca reads {VERSION}", path.display(), index.version);
        }
        Ok(index)
    }

    /// Replaces the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("an index has nothing that JSON cannot hold");
        folder::write(path, &(text + "\n"), Secrecy::Public)
    }

    /// The newest certificate of a node, revoked ones left out.
    pub fn newest(&self, name: &NodeName) -> Option<&Entry> {
        self.certificates.iter().rev().find(|entry| entry.name == *name && entry.revoked.is_none())
    }
}
