//! What an authority does: begin, issue, renew, revoke, sign its list again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::Flock;
use slr_model::{Identity, NodeName, Role, VirtualSubnet, check_trust_domain};

use crate::folder::{self, Folder, Secrecy};
use crate::index::{Entry, Index, Revocation, RevocationReason, Standing};
use crate::sign::{self, Signer};
use crate::{Certificate, Moment};

/// An authority's folder, held open: other commands wait until it is dropped.
pub struct Authority {
    folder: Folder,
    index: Index,
    signer: Signer,
    ca: String,
    ca_not_after: Moment,
    _lock: Flock<File>,
}

/// What a new certificate is to say.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// What the node is.
    pub role: Role,
    /// What it is called.
    pub name: NodeName,
    /// Where it takes tunnels, and from where it sends them.
    pub tunnels: Vec<ipnet::IpNet>,
    /// What it may advertise.
    pub subnets: Vec<VirtualSubnet>,
    /// How long it is valid.
    pub valid_for: Duration,
    /// From when on; a time in the past makes certificates that are expired.
    pub now: Moment,
}

/// A certificate that was just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What the index has of it.
    pub entry: Entry,
    /// The certificate's file.
    pub certificate: PathBuf,
    /// Its key's file.
    pub key: PathBuf,
    /// The copy of the authority's certificate.
    pub ca: PathBuf,
    /// The copy of the revocation list.
    pub crl: PathBuf,
}

/// Which certificates to revoke.
#[derive(Clone, Debug)]
pub enum RevokeWhat {
    /// Every valid one of a node.
    Name(NodeName),
    /// One.
    Serial(String),
}

impl Authority {
    /// Makes a new authority in an empty or missing folder.
    pub fn init(dir: &Path, trust_domain: &str, valid_for: Duration, crl_valid_for: Duration) -> Result<Self> {
        check_trust_domain(trust_domain)?;
        let folder = Folder::new(dir);
        folder.create()?;
        let lock = folder.lock()?;
        let now = Moment::now();
        let not_after = now.after(valid_for)?;
        let made = sign::make_ca(trust_domain, now, not_after)?;
        // The key first: a folder with a certificate has the key that belongs to it.
        folder::write(&folder.ca_key(), &made.key, Secrecy::Secret)?;
        folder::write(&folder.ca(), &made.certificate, Secrecy::Public)?;
        let signer = sign::read_signer(&folder)?;
        let index = Index::new(trust_domain, now);
        let mut authority = Self { folder, index, signer, ca: made.certificate, ca_not_after: not_after, _lock: lock };
        authority.sign_crl(crl_valid_for)?;
        Ok(authority)
    }

    /// Opens an authority, waiting for another command that has it open.
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = Folder::new(dir);
        let lock = folder.lock()?;
        let index = Index::read(&folder.index())?;
        let signer = sign::read_signer(&folder)?;
        let ca = folder::read(&folder.ca())?;
        let ca_not_after = Certificate::parse(ca.as_bytes())
            .with_context(|| format!("{} cannot be read; restore it from a backup", folder.ca().display()))?
            .not_after;
        Ok(Self { folder, index, signer, ca, ca_not_after, _lock: lock })
    }

    /// What was issued and revoked.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Issues a first certificate for a name, or one for a name whose certificates are all expired or revoked.
    pub fn issue(&mut self, request: IssueRequest, out: &Path) -> Result<Issued> {
        if let Some(entry) = self.index.newest(&request.name)
            && matches!(entry.standing(Moment::now()), Standing::Valid(_))
        {
            bail!(
                "{} {} has a certificate that is valid until {}: use slr-ca renew {}, or slr-ca revoke it first",
                entry.role,
                entry.name,
                entry.not_after,
                entry.name
            );
        }
        self.issue_any(request, out)
    }

    /// Issues another certificate for a node, with the claims of its newest one unless others are given. The earlier
    /// one stays valid until its end, so that the node can change over without a gap.
    pub fn renew(
        &mut self,
        name: &NodeName,
        tunnels: Option<Vec<ipnet::IpNet>>,
        subnets: Option<Vec<VirtualSubnet>>,
        valid_for: Duration,
        out: &Path,
    ) -> Result<Issued> {
        let Some(entry) = self.index.newest(name).cloned() else {
            bail!(
                "no certificate of {name} that is not revoked: slr-ca issue makes the first one, slr-ca show lists all"
            );
        };
        let request = IssueRequest {
            role: entry.role,
            name: entry.name,
            tunnels: tunnels.unwrap_or(entry.tunnels),
            subnets: subnets.unwrap_or(entry.subnets),
            valid_for,
            now: Moment::now(),
        };
        self.issue_any(request, out)
    }

    fn issue_any(&mut self, request: IssueRequest, out: &Path) -> Result<Issued> {
        check_files(&request.name, out, &self.ca)?;
        let identity = self.identity(&request)?;
        let not_after = request.now.after(request.valid_for)?;
        if not_after > self.ca_not_after {
            bail!(
                "the authority's own certificate ends at {}: choose a shorter life, or make a new authority in time",
                self.ca_not_after
            );
        }
        let made = sign::make_node(&self.signer, &identity, request.now, not_after)?;
        let entry = Entry::new(&Certificate::parse(made.certificate.as_bytes())?, identity);
        // The index first: what is not in it could not be revoked.
        self.index.certificates.push(entry.clone());
        self.index.write(&self.folder.index())?;
        folder::write(&self.folder.issued(&entry.serial), &made.certificate, Secrecy::Public)?;
        let crl = folder::read(&self.folder.crl())?;
        sign::write_node(out, &entry.name, &made, &self.ca, &crl)?;
        Ok(Issued {
            certificate: out.join(format!("{}.pem", entry.name)),
            key: out.join(format!("{}-key.pem", entry.name)),
            ca: out.join(folder::CA_FILE),
            crl: out.join(folder::CRL_FILE),
            entry,
        })
    }

    /// The identity of a request, read back from its own text so that only what nodes accept is signed.
    fn identity(&self, request: &IssueRequest) -> Result<Identity> {
        let wide = request.tunnels.iter().find(|tunnel| tunnel.prefix_len() != tunnel.max_prefix_len());
        if let (Role::Host, Some(wide)) = (request.role, wide) {
            bail!(
                "{wide} is more than one address: a host takes tunnels at /32 or /128 addresses; prefixes are for SLRs"
            );
        }
        let given = Identity {
            trust_domain: self.index.trust_domain.clone(),
            role: request.role,
            name: request.name.clone(),
            tunnels: request.tunnels.clone(),
            subnets: request.subnets.clone(),
        };
        Ok(Identity::from_uris(given.uris().iter().map(String::as_str))?)
    }

    /// Revokes certificates and signs the list again. Answers which were revoked.
    pub fn revoke(
        &mut self,
        what: &RevokeWhat,
        reason: RevocationReason,
        crl_valid_for: Duration,
    ) -> Result<Vec<Entry>> {
        let now = Moment::now();
        let matches = |entry: &Entry| match what {
            RevokeWhat::Name(name) => entry.name == *name,
            RevokeWhat::Serial(serial) => entry.serial == serial.to_ascii_lowercase().trim_start_matches('0'),
        };
        let live = |entry: &&mut Entry| matches!(entry.standing(now), Standing::Valid(_)) && matches(entry);
        let revoked: Vec<Entry> = self
            .index
            .certificates
            .iter_mut()
            .filter(live)
            .map(|entry| {
                entry.revoked = Some(Revocation { at: now, reason });
                entry.clone()
            })
            .collect();
        if revoked.is_empty() {
            let what = match what {
                RevokeWhat::Name(name) => format!("of {name}"),
                RevokeWhat::Serial(serial) => format!("with serial {serial}"),
            };
            bail!("no valid certificate {what}: slr-ca show lists all, with those that are expired or revoked");
        }
        self.sign_crl(crl_valid_for)?;
        Ok(revoked)
    }

    /// Signs the revocation list again, due to be signed anew within `valid_for`.
    pub fn sign_crl(&mut self, valid_for: Duration) -> Result<()> {
        let now = Moment::now();
        self.index.crl_number += 1;
        self.index.crl_next_update = now.after(valid_for)?;
        let crl = sign::make_crl(&self.signer, &self.index, now)?;
        // The index first: a list of a number is signed once.
        self.index.write(&self.folder.index())?;
        folder::write(&self.folder.crl(), &crl, Secrecy::Public)
    }

    /// Copies the revocation list into a folder where a node finds it.
    pub fn copy_crl(&self, out: &Path) -> Result<()> {
        folder::make_dir(out, 0o755)?;
        folder::write(&out.join(folder::CRL_FILE), &folder::read(&self.folder.crl())?, Secrecy::Public)
    }

    /// The authority's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Checks that a node's files overwrite nobody else's.
fn check_files(name: &NodeName, out: &Path, ca: &str) -> Result<()> {
    if matches!(name.as_str(), "ca" | "crl") || name.ends_with("-key") {
        bail!("{name}.pem would be taken for another file of the folder: choose a name other than ca, crl and *-key");
    }
    let other = out.join(folder::CA_FILE);
    match std::fs::read_to_string(&other) {
        // A folder may have this authority's certificate among others, while one takes the other's place.
        Ok(text) if !text.contains(ca.trim()) => {
            bail!("{} is another authority's: choose another --out, or remove it first", other.display())
        }
        _ => Ok(()),
    }
}
