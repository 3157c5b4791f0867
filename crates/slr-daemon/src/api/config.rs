//! `[api]`, the same in both daemons' configurations.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::doors::{Settings, Socket};
use crate::config::Complaint;

/// Where other nodes ask, when the configuration does not say: the port beside the control channel's and the keepalives'.
pub const DEFAULT_PORT: u16 = 6102;
/// Who may open the socket, when the configuration does not say: its owner and its group.
const DEFAULT_MODE: u32 = 0o660;

/// As written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// A Unix socket; none: there is none.
    socket: Option<Spanned<PathBuf>>,
    /// Its permission bits.
    socket_mode: Option<Spanned<u32>>,
    /// A loopback address for browsers; none: there is none.
    page: Option<Spanned<SocketAddr>>,
    /// Where other nodes ask over HTTPS; none: at the tunnel addresses; an empty list: nowhere.
    listen: Option<Vec<Spanned<SocketAddr>>>,
}

impl File {
    /// Checks it; paths are relative to `folder`. `tunnels`: the node's tunnel addresses.
    pub fn check(&self, folder: &Path, tunnels: &[IpAddr], found: &mut Vec<Complaint>) -> Settings {
        if let Some(mode) = &self.socket_mode
            && (*mode.get_ref() > 0o777 || mode.get_ref() & 0o600 != 0o600)
        {
            let remedy = "write it in octal, such as 0o660 for the owner and the group, 0o600 for the owner alone";
            found.push(Complaint::new(
                mode.span(),
                format!("{:#o} are no permissions of a socket", mode.get_ref()),
                remedy,
            ));
        }
        if let Some(page) = &self.page
            && !page.get_ref().ip().is_loopback()
        {
            found.push(Complaint::new(
                page.span(),
                format!("{} is no loopback address: everybody who reaches it could read", page.get_ref()),
                "write 127.0.0.1:9480 and come by ssh -L, or use listen, which asks for certificates",
            ));
        }
        let mode = self.socket_mode.as_ref().map_or(DEFAULT_MODE, |mode| *mode.get_ref());
        let socket = self.socket.as_ref().map(|path| Socket { path: folder.join(path.get_ref()), mode });
        let listen = match &self.listen {
            Some(listen) => listen.iter().map(|address| *address.get_ref()).collect(),
            None => tunnels.iter().map(|address| SocketAddr::new(*address, DEFAULT_PORT)).collect(),
        };
        Settings { socket, page: self.page.as_ref().map(|page| *page.get_ref()), listen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Settings, Vec<Complaint>> {
        let file: File = toml::from_str(text).unwrap();
        let mut found = Vec::new();
        let settings = file.check(Path::new("/etc/x"), &["10.1.0.1".parse().unwrap()], &mut found);
        if found.is_empty() { Ok(settings) } else { Err(found) }
    }

    #[test]
    fn what_is_not_said_is_for_other_nodes_alone() {
        let expected = Settings { listen: vec!["10.1.0.1:6102".parse().unwrap()], ..Settings::default() };
        assert_eq!(check("").unwrap(), expected);
        assert_eq!(check("listen = []").unwrap(), Settings::default());
        let all = check("socket = \"api.sock\"\npage = \"[::1]:9480\"\nlisten = [\"10.1.0.1:443\"]").unwrap();
        assert_eq!(all.socket, Some(Socket { path: "/etc/x/api.sock".into(), mode: 0o660 }));
        assert_eq!(
            (all.page, all.listen),
            (Some("[::1]:9480".parse().unwrap()), vec!["10.1.0.1:443".parse().unwrap()])
        );
    }

    #[test]
    fn a_page_for_everybody_and_odd_permissions_are_refused() {
        assert_eq!(check("page = \"0.0.0.0:9480\"").unwrap_err().len(), 1);
        assert_eq!(check("socket = \"/x\"\nsocket_mode = 660").unwrap_err().len(), 1, "660 is not octal");
        assert_eq!(check("socket = \"/x\"\nsocket_mode = 0o066").unwrap_err().len(), 1, "the owner too");
        assert!(check("socket = \"/x\"\nsocket_mode = 0o600").is_ok());
    }
}
