//! Where the API can be read, and what has to be so before anything is read.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, UnixListener};

/// Certificates as they are now: they may be renewed at any time, so each connection asks. Whoever comes in with this has shown a
/// certificate that lets it read.
pub type Tls = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// Where to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// A Unix socket.
    pub socket: Option<Socket>,
    /// Plain HTTP at a loopback address, with the web page if the daemon has one.
    pub page: Option<SocketAddr>,
    /// HTTPS for other nodes.
    pub listen: Vec<SocketAddr>,
}

/// A Unix socket with its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its file.
    pub path: PathBuf,
    /// Who may open it: permission bits, such as 0o660.
    pub mode: u32,
}

/// One place that is listened at.
pub enum Door {
    /// For processes of this machine.
    Socket(UnixListener, PathBuf),
    /// For browsers on this machine.
    Page(TcpListener, SocketAddr),
    /// For other nodes.
    Https(TcpListener, SocketAddr, Tls),
}

impl Door {
    /// Listens at a Unix socket. One that a killed daemon left is replaced. Needs a tokio runtime, like the others.
    pub fn socket(socket: &Socket) -> io::Result<Self> {
        if let Some(folder) = socket.path.parent() {
            fs::create_dir_all(folder)?;
        }
        match fs::remove_file(&socket.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = bind_closed(&socket.path)?;
        fs::set_permissions(&socket.path, fs::Permissions::from_mode(socket.mode))?;
        Ok(Self::Socket(listener, socket.path.clone()))
    }

    /// Listens at a loopback address.
    pub fn page(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Self::Page(listener, address))
    }

    /// Listens for other nodes.
    pub fn https(address: SocketAddr, tls: Tls) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // An address that is not there yet: at boot, IPv6 ones are being checked for duplicates.
        if address.is_ipv4() { socket.set_freebind_v4(true) } else { socket.set_freebind_v6(true) }?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok(Self::Https(listener, address, tls))
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Socket(_, path) => path.display().to_string(),
            Self::Page(_, address) => format!("http://{address}/"),
            Self::Https(_, address, _) => format!("https://{address}/"),
        }
    }
}

/// Nobody but the owner can connect until the permissions are those that were asked for.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    bound
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let tcp = std::net::TcpListener::bind(address)?;
    tcp.set_nonblocking(true)?;
    TcpListener::from_std(tcp)
}

/// Whether a request for this host is for an address of this machine itself. A page of somebody else whose name leads to a loopback
/// address names that name.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "localhost:9480", "127.0.0.1:9480", "[::1]:9480", "[::1]", "127.3.2.1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example:9480",
            "localhost.evil.example",
            "10.0.0.1:9480",
            "[2001:db8::1]:80",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
