//! The files that trust is made of, and noticing that they change.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::TrustError;

/// A file of ours is some kilobytes; the largest is a revocation list of ten thousand certificates.
const FILE_MAX: u64 = 1 << 20;

/// Where a node's certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFiles {
    /// The trust domain's authority, or several while one takes the other's place (PEM).
    pub ca: PathBuf,
    /// This node's certificate (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The authority's revocation list (PEM). Without one, nothing is revoked.
    pub crl: Option<PathBuf>,
    /// Refuse new connections while the revocation list is past its next update. Otherwise it is used as it is, with a
    /// warning: a list that somebody forgot to sign again still revokes what it lists, and must not stop a whole site.
    pub require_fresh_crl: bool,
}

/// What was in the files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub crl: Option<Vec<u8>>,
}

/// What tells a file from its predecessor without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i64; 6]>>);

impl TrustFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.certificate, &self.key].into_iter().chain(&self.crl).map(PathBuf::as_path)
    }

    /// Changes whenever a file does. Cheap: one system call a file.
    pub(super) fn stamp(&self) -> Stamp {
        let stamp = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            let size = i64::try_from(found.size()).unwrap_or(i64::MAX);
            let inode = found.ino().cast_signed();
            Some([found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec(), size, inode])
        };
        Stamp(self.paths().map(stamp).collect())
    }

    /// Reads all files.
    pub(super) fn read(&self) -> Result<Contents, TrustError> {
        Ok(Contents {
            ca: read(&self.ca)?,
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            crl: self.crl.as_deref().map(read).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let failed = |source: io::Error| TrustError::Read { path: path.to_owned(), source };
    let len = fs::metadata(path).map_err(failed)?.len();
    if len > FILE_MAX {
        return Err(failed(io::Error::other(format!("{len} bytes, at most {FILE_MAX} are read"))));
    }
    fs::read(path).map_err(failed)
}
