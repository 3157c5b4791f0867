//! A program on an interface: attached through a link that is pinned, so that it outlives the daemon, and swapped in
//! place when the next daemon brings a newer one.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::sys;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum XdpMode {
    /// Native if the driver has it, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// After the kernel has built an skb.
    Generic,
}

impl XdpMode {
    /// As configuration and JSON have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl FromStr for XdpMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Auto, Self::Native, Self::Generic]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("XDP mode `{text}`: expected auto, native or generic"))
    }
}

/// Why a program is not on an interface.
#[derive(Debug, Error)]
pub enum AttachError {
    /// There is no such interface.
    #[error("interface {interface} does not exist; `ip link` lists those that do")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The kernel refused.
    #[error("interface {interface}: {step} in {mode} mode: {source}{remedy}")]
    Kernel {
        /// Its name.
        interface: String,
        /// What was being done.
        step: &'static str,
        /// In which mode.
        mode: &'static str,
        /// Why not.
        source: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// A program on an interface.
#[derive(Debug)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Native or generic.
    pub mode: XdpMode,
    /// Holds the program there while there is no pin.
    link: OwnedFd,
    pin: Option<PathBuf>,
}

const GENERIC: u32 = 1 << 1; // XDP_FLAGS_SKB_MODE
const NATIVE: u32 = 1 << 2; // XDP_FLAGS_DRV_MODE

/// The name of an interface's pin. A bpffs takes no dots in names, and interfaces may have some (`eth0.100`).
pub(crate) fn pin_name(kind: &str, interface: &str) -> String {
    format!("{kind}{}", interface.replace('%', "%25").replace('.', "%2e"))
}

/// The interface that a pin of this kind is of.
pub(crate) fn interface_of_pin(kind: &str, name: &str) -> Option<String> {
    Some(name.strip_prefix(kind)?.replace("%2e", ".").replace("%25", "%"))
}

fn index_of(interface: &str) -> Result<u32, AttachError> {
    nix::net::if_::if_nametoindex(interface).map_err(|_| AttachError::NoInterface { interface: interface.to_owned() })
}

/// Take over the pinned link of an interface, if there is one and the interface is still the same.
fn adopt(pin: &Path, ifindex: u32, program: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    if !pin.exists() {
        return Ok(None);
    }
    let link = sys::open_pin(pin)?;
    if sys::link_ifindex(link.as_fd())? != ifindex {
        fs::remove_file(pin)?; // of an interface that is gone: another has its name now
        return Ok(None);
    }
    sys::update_link(link.as_fd(), program)?;
    Ok(Some(link))
}

/// Put `program` on `interface`. With `pins`, through a link pinned as `link-INTERFACE` there; one that is there already,
/// or in one of the `older` directories, is taken over and only its program is swapped, whatever `mode` says.
pub fn attach(
    program: BorrowedFd<'_>,
    interface: &str,
    mode: XdpMode,
    pins: Option<&Path>,
    older: &[PathBuf],
) -> Result<Attachment, AttachError> {
    let ifindex = index_of(interface)?;
    let pin = pins.map(|dir| dir.join(pin_name("link-", interface)));
    let refused = |step, mode: XdpMode, remedy| {
        move |source| AttachError::Kernel { interface: interface.to_owned(), step, mode: mode.as_str(), source, remedy }
    };
    let places = pin.iter().cloned().chain(older.iter().map(|dir| dir.join(pin_name("link-", interface))));
    for place in places {
        let taken = adopt(&place, ifindex, program);
        if let Some(link) = taken.map_err(refused("the pinned link cannot be taken over", mode, ""))? {
            let native = sys::is_native(ifindex).unwrap_or(false);
            let mode = if native { XdpMode::Native } else { XdpMode::Generic };
            let interface = interface.to_owned();
            let mut attachment = Attachment { interface, ifindex, mode, link, pin: Some(place.clone()) };
            if let Some(pin) = pin.filter(|pin| *pin != place) {
                attachment.repin(pin).map_err(refused("the link cannot be pinned anew", mode, ""))?;
            }
            return Ok(attachment);
        }
    }
    let busy = "; is another XDP program there? `ip link show` names it, `ip link set dev IF xdp off` removes it";
    let try_mode = |mode, flags| {
        sys::link_xdp(program, ifindex, flags).map(|link| (link, mode)).map_err(refused("cannot attach", mode, busy))
    };
    let (link, mode) = match mode {
        XdpMode::Native => try_mode(XdpMode::Native, NATIVE),
        XdpMode::Generic => try_mode(XdpMode::Generic, GENERIC),
        XdpMode::Auto => try_mode(XdpMode::Native, NATIVE).or_else(|_| try_mode(XdpMode::Generic, GENERIC)),
    }?;
    if let Some(pin) = &pin {
        sys::pin(link.as_fd(), pin).map_err(refused("the link cannot be pinned", mode, ""))?;
    }
    Ok(Attachment { interface: interface.to_owned(), ifindex, mode, link, pin })
}

impl Attachment {
    /// Take the program off the interface.
    pub fn detach(self) -> io::Result<()> {
        if let Some(pin) = &self.pin {
            fs::remove_file(pin)?;
        }
        drop(self.link); // the last reference: the kernel detaches
        Ok(())
    }

    /// Put another program behind the link; packets see the old one or the new one.
    pub(crate) fn swap(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        sys::update_link(self.link.as_fd(), program)
    }

    /// Is the link still on the interface that now has this name?
    pub fn is_current(&self) -> bool {
        let now = index_of(&self.interface).ok();
        now == Some(self.ifindex) && sys::link_ifindex(self.link.as_fd()).is_ok_and(|index| index == self.ifindex)
    }

    /// Move the pin (an upgrade to another ABI version).
    fn repin(&mut self, to: PathBuf) -> io::Result<()> {
        sys::pin(self.link.as_fd(), &to)?;
        if let Some(old) = self.pin.replace(to) {
            fs::remove_file(old)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_interfaces_have_no_dots_and_tell_their_interface() {
        for interface in ["eth0", "eth0.100", "a.b%2ec"] {
            let pin = pin_name("link-", interface);
            assert!(!pin.contains('.'), "{pin}");
            assert_eq!(interface_of_pin("link-", &pin).as_deref(), Some(interface));
        }
        assert_eq!(interface_of_pin("link-", "flows_v4"), None);
    }
}
