//! The authority's folder: where things are, how they are replaced, and who may change them.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use tempfile::NamedTempFile;

/// The authority's certificate, here and at every node.
pub const CA_FILE: &str = "ca.pem";
/// The revocation list, here and at every node.
pub const CRL_FILE: &str = "crl.pem";
const KEY_FILE: &str = "ca-key.pem";
const INDEX_FILE: &str = "index.json";
const ISSUED_DIR: &str = "issued";
const LOCK_FILE: &str = "lock";

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Everybody: certificates, lists.
    Public,
    /// The owner alone: keys.
    Secret,
}

/// Paths in the folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at this path, whether it exists or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.0.join(CA_FILE)
    }

    /// The authority's key.
    pub fn ca_key(&self) -> PathBuf {
        self.0.join(KEY_FILE)
    }

    /// The revocation list.
    pub fn crl(&self) -> PathBuf {
        self.0.join(CRL_FILE)
    }

    /// What was issued.
    pub fn index(&self) -> PathBuf {
        self.0.join(INDEX_FILE)
    }

    /// A certificate that was issued.
    pub fn issued(&self, serial: &str) -> PathBuf {
        self.0.join(ISSUED_DIR).join(format!("{serial}.pem"))
    }

    /// Makes the folder, which must not hold an authority yet.
    pub fn create(&self) -> Result<()> {
        for path in [self.ca(), self.ca_key(), self.index()] {
            if path.try_exists().with_context(|| format!("cannot look at {}", path.display()))? {
                bail!(
                    "{} exists: {} holds an authority already; use it, or choose another --dir",
                    path.display(),
                    self.0.display()
                );
            }
        }
        make_dir(&self.0, 0o700)?;
        make_dir(&self.0.join(ISSUED_DIR), 0o755)
    }

    /// Keeps other commands out until it is dropped.
    pub fn lock(&self) -> Result<Flock<File>> {
        let path = self.0.join(LOCK_FILE);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| {
            format!(
                "cannot open {}: is {} an authority's folder? make one with slr-ca init",
                path.display(),
                self.0.display()
            )
        })?;
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => Ok(lock),
            Err((_, errno)) => bail!("cannot lock {}: {errno}", path.display()),
        }
    }
}

/// Makes a folder and those above it. One that exists keeps its mode.
pub fn make_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Replaces a file whole: written beside it, flushed to the disk, then renamed. A secret never has another mode than 0600.
pub fn write(path: &Path, text: &str, secrecy: Secrecy) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Temporary files have mode 0600 from their creation on.
    let mut file = NamedTempFile::new_in(dir).with_context(failed)?;
    if secrecy == Secrecy::Public {
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).with_context(failed)?;
    }
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist(path).map_err(|error| error.error).with_context(failed)?;
    Ok(())
}

/// Reads a file of the folder.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| {
        let missing = error.kind() == ErrorKind::NotFound;
        let remedy = if missing { "; is this an authority's folder? make one with slr-ca init" } else { "" };
        anyhow::anyhow!("cannot read {}: {error}{remedy}", path.display())
    })
}
