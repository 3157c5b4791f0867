//! The site's certificates, made by `slr-ca` as an operator makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::program;

/// The site's trust domain.
pub const TRUST_DOMAIN: &str = "site.example";

/// An authority and the folder of its nodes' files.
#[derive(Clone, Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// A new one, in a folder of its own.
    pub fn init(dir: &Path, trust_domain: &str) -> Result<Self> {
        let authority = Self { dir: dir.to_owned() };
        authority.run(&["init", "--trust-domain", trust_domain])?;
        authority.run(&["flow-secret", &authority.flow_secret().to_string_lossy()])?;
        Ok(authority)
    }

    /// The secret that all its routers share.
    pub fn flow_secret(&self) -> PathBuf {
        self.dir.join("flow-secret")
    }

    /// The files of a node; made by [`Authority::issue`].
    pub fn files(&self, node: &str) -> Files {
        let dir = self.dir.join("nodes").join(node);
        Files {
            ca: dir.join("ca.pem"),
            certificate: dir.join(format!("{node}.pem")),
            key: dir.join(format!("{node}-key.pem")),
            crl: dir.join("crl.pem"),
            flow_secret: self.flow_secret(),
        }
    }

    /// A node's first certificate, with these tunnels and subnets.
    pub fn issue(&self, role: &str, node: &str, tunnels: &[&str], subnets: &[&str], more: &[&str]) -> Result<Files> {
        let out = self.dir.join("nodes").join(node);
        let mut words = vec!["issue", "--role", role, "--name", node];
        words.extend(tunnels.iter().flat_map(|tunnel| ["--tunnel", tunnel]));
        words.extend(subnets.iter().flat_map(|subnet| ["--subnet", subnet]));
        words.extend(more);
        self.run_to(&words, &out)?;
        Ok(self.files(node))
    }

    /// Another certificate for a node, put in the place of the first.
    pub fn renew(&self, node: &str, more: &[&str]) -> Result<()> {
        let mut words = vec!["renew", node];
        words.extend(more);
        self.run_to(&words, &self.dir.join("nodes").join(node))
    }

    /// Revokes a node's certificates, and gives the list to these nodes.
    pub fn revoke(&self, node: &str, told: &[&str]) -> Result<()> {
        let outs: Vec<String> =
            told.iter().map(|node| self.dir.join("nodes").join(node).to_string_lossy().into_owned()).collect();
        let mut words = vec!["revoke", node];
        words.extend(outs.iter().flat_map(|out| ["--out", out.as_str()]));
        self.run(&words)
    }

    fn run_to(&self, words: &[&str], out: &Path) -> Result<()> {
        let out = out.to_string_lossy();
        self.run(&[words, &["--out", &out]].concat())
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let output = Command::new(program("slr-ca")?).arg("--dir").arg(self.dir.join("ca")).args(words).output();
        let output = output.context("start slr-ca")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "slr-ca {}: {text}", words.join(" "));
        Ok(())
    }
}

/// A node's files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The node's.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The revocation list.
    pub crl: PathBuf,
    /// What routers share; no file of a host's.
    pub flow_secret: PathBuf,
}

impl Files {
    /// Puts copies of other files in the place of these.
    pub fn replace_with(&self, other: &Files) -> Result<()> {
        for (from, to) in [(&other.ca, &self.ca), (&other.crl, &self.crl), (&other.key, &self.key)] {
            fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
        }
        // The certificate at last: that is when a daemon finds a pair.
        fs::copy(&other.certificate, &self.certificate).context("copy a certificate")?;
        Ok(())
    }

    /// Trusts another authority as well, and takes its revocation list.
    pub fn trust_also(&self, other: &Files) -> Result<()> {
        for (from, to) in [(&other.ca, &self.ca), (&other.crl, &self.crl)] {
            let both = [fs::read(to)?, fs::read(from)?].concat();
            fs::write(to, both).with_context(|| format!("add {} to {}", from.display(), to.display()))?;
        }
        Ok(())
    }

    /// As a router's `[control]` names them.
    pub fn router_toml(&self) -> String {
        format!("{}flow_secret = {:?}\n", self.toml(), self.flow_secret)
    }

    /// As `[control]` of any node names them.
    pub fn toml(&self) -> String {
        format!(
            "ca = {:?}\ncertificate = {:?}\nkey = {:?}\ncrl = {:?}\n",
            self.ca, self.certificate, self.key, self.crl
        )
    }
}
