//! The daemon's part: which program is on its interfaces, the plain one or one that captures.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::MapHandle;
use thiserror::Error;

use super::Kind;
use crate::sys;
use crate::xdp::Attachment;

const PIN: &str = "capture-";

/// The name under which a process pins its program for the daemon.
pub fn pin_name(pid: u32) -> String {
    format!("{PIN}{pid}")
}

/// Is this such a name?
pub fn is_pin_name(name: &str) -> bool {
    name.strip_prefix(PIN).is_some_and(|pid| pid.parse::<u32>().is_ok())
}

/// Why the program that captures is not on the interfaces.
#[derive(Debug, Error)]
pub enum SwitchError {
    /// It is not where it should be.
    #[error("program {}: {source}; whoever captures pins it there", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another program, or over other tables.
    #[error("program {name} does not capture what this daemon's programs do: is the command of another version?")]
    Stranger {
        /// Its name.
        name: String,
    },
    /// The kernel refused.
    #[error("interface {interface}: its program cannot be exchanged: {source}")]
    Kernel {
        /// Its name.
        interface: String,
        /// Why not.
        source: io::Error,
    },
    /// This process keeps nothing pinned.
    #[error("tables that are not pinned cannot be shared with whoever captures")]
    NoPins,
}

/// The program that captures, while there is one.
#[derive(Default)]
pub(crate) struct Switch(Option<OwnedFd>);

impl Switch {
    /// The program that belongs on an interface now.
    pub fn program<'a>(&'a self, plain: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.0.as_ref().map_or(plain, OwnedFd::as_fd)
    }

    /// Put the program that process `pid` has pinned on all these interfaces, or on none. `mine`: a table that it must share.
    pub fn start(
        &mut self,
        kind: Kind,
        pins: Option<&Path>,
        pid: u32,
        mine: &MapHandle,
        plain: BorrowedFd<'_>,
        attachments: &[Attachment],
    ) -> Result<(), SwitchError> {
        let path = pins.ok_or(SwitchError::NoPins)?.join(pin_name(pid));
        let at = |source| SwitchError::Pin { path: path.clone(), source };
        let program = sys::open_pin(&path).map_err(at)?;
        let (name, maps) = sys::program_facts(program.as_fd()).map_err(at)?;
        let table = sys::map_id(mine.as_fd()).map_err(at)?;
        let expected = kind.program();
        if name != expected[..expected.len().min(15)] || !maps.contains(&table) {
            return Err(SwitchError::Stranger { name });
        }
        fs::remove_file(&path).map_err(at)?;
        if let Err(error) = swap(attachments, program.as_fd()) {
            swap(attachments, plain)?;
            return Err(error);
        }
        self.0 = Some(program);
        Ok(())
    }

    /// Put the plain program back; nothing if it is there.
    pub fn end(&mut self, plain: BorrowedFd<'_>, attachments: &[Attachment]) -> Result<(), SwitchError> {
        if self.0.take().is_some() { swap(attachments, plain) } else { Ok(()) }
    }
}

/// All of them are tried; the first failure is told.
fn swap(attachments: &[Attachment], program: BorrowedFd<'_>) -> Result<(), SwitchError> {
    let swapped = attachments.iter().filter(|attachment| attachment.is_current()).map(|attachment| {
        let interface = attachment.interface.clone();
        attachment.swap(program).map_err(|source| SwitchError::Kernel { interface, source })
    });
    swapped.fold(Ok(()), Result::and)
}

/// Remove what processes pinned that were killed before the daemon took it.
pub(crate) fn clear_pins(pins: &Path) {
    for entry in fs::read_dir(pins).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_pin_name)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!(pin = %entry.path().display(), %error, "a program that captured stays pinned");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_captures_are_told_from_tables_and_links() {
        assert!(is_pin_name(&pin_name(4_711)));
        for other in ["captures", "capture-", "capture-x", "link-capture-1", "settings"] {
            assert!(!is_pin_name(other), "{other}");
        }
    }
}
