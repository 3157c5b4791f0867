//! The secret that the routers of a trust domain share, of which the keys of the augmented echo are made (docs/wire.md).

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Its bytes.
const LEN: usize = 32;

/// Makes a secret: 64 hex digits and a line's end, mode 0600. A file that exists is never written over: routers may be using it.
pub fn make_flow_secret(path: &Path) -> Result<()> {
    let mut bytes = [0; LEN];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the kernel gives no random numbers")?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]).collect();
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "{} exists: if it is the flow secret, copy it to all routers; to replace it, remove it first",
            path.display()
        ),
        other => other.with_context(|| format!("cannot make {}", path.display()))?,
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}: remove it", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_the_owners_and_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| make_flow_secret(path).unwrap());
        let texts = paths.each_ref().map(|path| fs::read_to_string(path).unwrap());
        assert_ne!(texts[0], texts[1]);
        let digits = texts[0].strip_suffix('\n').unwrap();
        assert!(digits.len() == 2 * LEN && digits.chars().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(fs::metadata(&paths[0]).unwrap().permissions().mode() & 0o7777, 0o600);
        let error = make_flow_secret(&paths[0]).unwrap_err().to_string();
        assert!(error.contains("copy it to all routers"), "{error}");
        assert_eq!(fs::read_to_string(&paths[0]).unwrap(), texts[0]);
    }
}
