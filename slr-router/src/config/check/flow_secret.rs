//! `[control] flow_secret`: the file with the secret, read with the configuration.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use slr_daemon::config::Complaint;
use slr_wire::FlowSecret;
use toml::Spanned;

/// Longest file that is read: the digits, and white space.
const LEN_MAX: u64 = 256;
/// Who but the owner may do anything with it.
const OTHERS: u32 = 0o077;

/// Reads the secret; a complaint if it is none, or no secret.
pub fn flow_secret(given: &Spanned<PathBuf>, folder: &Path, found: &mut Vec<Complaint>) -> Option<FlowSecret> {
    let path = folder.join(given.get_ref());
    let result = read(&path);
    result.map_err(|(why, remedy)| found.push(Complaint::new(given.span(), why, remedy))).ok()
}

/// The secret, or what is wrong and what to do about it.
fn read(path: &Path) -> Result<FlowSecret, (String, String)> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        (format!("{shown} cannot be read: {error}"), "make it with slr-ca flow-secret, once for all routers".to_owned())
    };
    // Before it is opened: a pipe would wait for its other end.
    let meta = path.metadata().map_err(unreadable)?;
    if !meta.is_file() || meta.len() > LEN_MAX {
        return Err((
            format!("{shown} is no file of a flow secret"),
            "name the file that slr-ca flow-secret has made".to_owned(),
        ));
    }
    let mode = meta.permissions().mode();
    if mode & OTHERS != 0 {
        return Err((
            format!("{shown} is open to others (mode {:04o})", mode & 0o7777),
            format!("chmod 0600 {shown}; if somebody may have read it, make another one for all routers"),
        ));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LEN_MAX).read_to_string(&mut text));
    read.map_err(unreadable)?;
    text.parse().map_err(|error| {
        (format!("{shown} holds no flow secret: {error}"), "copy the file of another router".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_file_of_the_owners_alone_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flow-secret");
        let tried = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read(&path).map_err(|(why, _)| why)
        };
        let good = format!("{}\n", "5a".repeat(FlowSecret::LEN));
        assert_eq!(tried(&good, 0o600), Ok(FlowSecret::new([0x5a; FlowSecret::LEN])));
        assert_eq!(tried(&good, 0o400), Ok(FlowSecret::new([0x5a; FlowSecret::LEN])));
        for (text, mode, why) in [
            (good.as_str(), 0o640, "open to others (mode 0640)"),
            (good.as_str(), 0o604, "open to others (mode 0604)"),
            ("5a5a", 0o600, "4 characters, not 64 hex digits"),
            ("", 0o600, "0 characters"),
            (&good.repeat(4), 0o600, "no file of a flow secret"),
        ] {
            let error = tried(text, mode).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let error = read(&folder.path().join("nowhere")).unwrap_err();
        assert!(error.0.contains("cannot be read") && error.1.contains("slr-ca flow-secret"), "{error:?}");
        assert!(read(folder.path()).unwrap_err().0.contains("no file"));
    }
}
