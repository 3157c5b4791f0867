//! `[control]`, `[[parent]]`, `[drain]`, `[metrics]`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::Complaints;
use crate::config::{Control, DEFAULT_STATE_DIR, Drain, Parent, file};

/// Routers that a host registers with: a cluster is a handful.
const PARENTS_MAX: usize = 32;
/// Long enough for a page to be loaded and a request to end, short enough for a machine to be shut down.
const ON_STOP: Duration = Duration::from_secs(30);
/// A SYN that was lost on the way is sent again after one second (RFC 6298 2.1), and by then its flow is already ours.
const SETTLE: Duration = Duration::from_millis(1_500);

/// For this machine's own scraper.
const METRICS: &str = "127.0.0.1:9402";

impl Complaints {
    /// Who is told, and how this host shows who it is.
    pub fn control(
        &mut self,
        written: Option<Spanned<file::Control>>,
        parents: Vec<file::Parent>,
        folder: &Path,
    ) -> Option<Control> {
        let Some(written) = written else {
            if let Some(parent) = parents.first() {
                let message = format!("parent {} cannot be told: there is no [control]", parent.name.get_ref());
                self.add(parent.name.span(), message, "add [control] with ca, certificate and key");
            }
            return None;
        };
        if parents.is_empty() {
            self.add(
                written.span(),
                "no parent to register with",
                "add [[parent]] with the name and addresses of a router",
            );
        }
        let written = written.into_inner();
        Some(Control {
            ca: folder.join(written.ca),
            certificate: folder.join(written.certificate),
            key: folder.join(written.key),
            crl: written.crl.map(|path| folder.join(path)),
            state_dir: written.state_dir.map_or_else(|| DEFAULT_STATE_DIR.into(), |path| folder.join(path)),
            parents: self.parents(parents),
        })
    }

    fn parents(&mut self, written: Vec<file::Parent>) -> Vec<Parent> {
        let mut parents: Vec<Parent> = Vec::new();
        for parent in written {
            if parents.iter().any(|known| known.name == *parent.name.get_ref()) {
                self.add(parent.name.span(), "parent given twice", "list all addresses in one entry");
            }
            if parents.len() == PARENTS_MAX {
                let message = format!("more than {PARENTS_MAX} parents");
                self.add(parent.name.span(), message, "a cluster is a handful; remove this one");
            }
            if parent.addresses.get_ref().is_empty() {
                let remedy = "where the router listens, such as [\"10.1.0.1:6100\", \"[fd00:1::1]:6100\"]";
                self.add(parent.addresses.span(), "no address", remedy);
            }
            parents.push(Parent { name: parent.name.into_inner(), addresses: parent.addresses.into_inner() });
        }
        parents
    }

    /// How this host stops.
    pub fn drain(&mut self, written: &file::Drain) -> Drain {
        Drain {
            on_stop: self.seconds("on_stop_s", &written.on_stop_s, ON_STOP, 0..=86_400),
            settle: self.millis("settle_ms", &written.settle_ms, SETTLE, 0..=60_000),
        }
    }
    /// Where figures are read.
    pub fn metrics(&mut self, written: &file::Metrics) -> Option<SocketAddr> {
        let (text, span) = match &written.listen {
            Some(listen) => (&**listen.get_ref(), listen.span()),
            None => (METRICS, 0..0),
        };
        let parsed = if text == "off" { Ok(None) } else { text.parse().map(Some) };
        parsed.unwrap_or_else(|_| {
            let remedy = format!("address and port, such as \"{METRICS}\" (the default), or \"off\"");
            self.add(span, format!("{text:?} is no address to serve metrics at"), &remedy);
            None
        })
    }
}
