//! `[[service]]` with its check.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use slr_model::{Protocol, Service, ServiceKey, VirtualSubnet, Weight};
use toml::Spanned;

use super::Complaints;
use crate::config::file::{self, CheckKind};
use crate::config::{Served, Subnet};
use crate::health::{Check, Kind, first_usable};

/// As many as an advert may name.
const SERVICES_MAX: usize = 1_024;
/// Checks that all services together may make in a second: at about 0.1 ms of CPU each, 5 % of a core.
const CHECKS_PER_S_MAX: f64 = 500.0;
/// A failure is known after one interval and `fall` timeouts at most: 1.15 s for a server that is frozen, less for one that
/// refuses or answers with an error.
const INTERVAL: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_millis(300);
const FALL: u32 = 3;
const RISE: u32 = 2;
/// Longest payload: what every path carries in one datagram.
const PAYLOAD_LEN_MAX: usize = 512;

/// A service's own load expressions, as written.
pub type ServiceLoads = BTreeMap<ServiceKey, Spanned<String>>;

impl Complaints {
    /// The services of the file, and each subnet without one as a whole.
    pub fn services(&mut self, written: Vec<file::Service>, subnets: &[Subnet]) -> (Vec<Served>, ServiceLoads) {
        let (mut services, mut loads) = (Vec::<Served>::new(), ServiceLoads::new());
        if let Some(first_too_many) = written.get(SERVICES_MAX) {
            let message = format!("more than {SERVICES_MAX} services");
            self.add(first_too_many.subnet.span(), message, "leave the rest to an entry without `service`");
        }
        for service in written {
            let name = service.subnet.get_ref();
            let Some(subnet) = subnets.iter().find(|subnet| subnet.name == *name) else {
                self.add(service.subnet.span(), format!("no subnet is called {name:?}"), "the name of a [[subnet]]");
                continue;
            };
            let key = ServiceKey { subnet: subnet.prefix, service: service.service.as_ref().map(|s| *s.get_ref()) };
            if services.iter().any(|known| known.key == key) {
                let span = service.service.as_ref().map_or(service.subnet.span(), Spanned::span);
                self.add(span, format!("{key} is given twice"), "give its weight and check in one entry");
            }
            let check = service.check.map(|check| {
                let span = check.span();
                self.check(check.into_inner(), span, key)
            });
            loads.extend(service.load.map(|load| (key, load)));
            services.push(Served { key, weight: service.weight, check: check.flatten() });
        }
        for subnet in subnets {
            if !services.iter().any(|served| served.key.subnet == subnet.prefix) {
                let key = ServiceKey { subnet: subnet.prefix, service: None };
                services.push(Served { key, weight: Weight::default(), check: None });
            }
        }
        (services, loads)
    }

    fn check(&mut self, written: file::Check, span: Range<usize>, key: ServiceKey) -> Option<Check> {
        self.unused_fields(&written);
        let interval = self.millis("interval_ms", &written.interval_ms, INTERVAL, 50..=3_600_000);
        let check = Check {
            address: self.check_address(&written.address, key.subnet),
            timeout: self.millis("timeout_ms", &written.timeout_ms, TIMEOUT, 10..=60_000),
            rise: self.number("rise", &written.rise, RISE, 1..=100),
            fall: self.number("fall", &written.fall, FALL, 1..=100),
            kind: self.check_kind(written, span.clone(), key.service)?,
            interval,
        };
        self.checks_per_s += 1.0 / interval.as_secs_f64();
        // Said once, at the first check that is too many.
        if self.checks_per_s > CHECKS_PER_S_MAX && self.checks_per_s - 1.0 / interval.as_secs_f64() <= CHECKS_PER_S_MAX
        {
            let message = format!("the checks up to here are more than {CHECKS_PER_S_MAX} a second");
            self.add(span, message, "longer intervals, or fewer checks");
        }
        Some(check)
    }

    fn check_address(&mut self, written: &Option<Spanned<IpAddr>>, subnet: VirtualSubnet) -> IpAddr {
        let Some(written) = written else { return first_usable(subnet) };
        if !subnet.contains(*written.get_ref()) {
            let message = format!("{} is not in {subnet}", written.get_ref());
            self.add(written.span(), message, "a service is checked at one of its virtual addresses");
        }
        *written.get_ref()
    }

    fn check_kind(&mut self, written: file::Check, span: Range<usize>, service: Option<Service>) -> Option<Kind> {
        if written.kind == CheckKind::Command {
            let Some(command) = written.command else {
                self.add(span, "no command", "command = [\"/usr/local/bin/check\", \"--quick\"]");
                return None;
            };
            return Some(Kind::Command { words: self.command(command) });
        }
        let Some(port) = written.port.as_ref().map(|port| *port.get_ref()).or(service.map(|service| service.port))
        else {
            self.add(span, "which port is checked?", "give `port`: the service is all ports");
            return None;
        };
        let is_udp = service.is_some_and(|service| service.protocol == Protocol::Udp);
        if written.port.is_none() && is_udp != (written.kind == CheckKind::Udp) {
            self.add(span, "this kind of check cannot speak to that service", "a kind of its protocol, or a `port`");
        }
        let port = port.get();
        Some(match written.kind {
            CheckKind::Tcp => Kind::Tcp { port },
            CheckKind::Http => Kind::Http {
                port,
                path: self.path(written.path),
                host: written.host.map(|host| self.host(host)),
                status: self.status(written.status),
            },
            _ => Kind::Udp {
                port,
                send: self.payload("send", written.send, written.send_hex),
                expect: self.payload("expect", written.expect, written.expect_hex),
            },
        })
    }

    fn unused_fields(&mut self, written: &file::Check) {
        if written.kind != CheckKind::Http {
            self.unused("path", &written.path, "kind \"http\"");
            self.unused("host", &written.host, "kind \"http\"");
            self.unused("status", &written.status, "kind \"http\"");
        }
        if written.kind != CheckKind::Udp {
            for (name, field) in [
                ("send", &written.send),
                ("send_hex", &written.send_hex),
                ("expect", &written.expect),
                ("expect_hex", &written.expect_hex),
            ] {
                self.unused(name, field, "kind \"udp\"");
            }
        }
        if written.kind == CheckKind::Command {
            self.unused("port", &written.port, "the other kinds; a command is told the service's in SLR_PORT");
        } else {
            self.unused("command", &written.command, "kind \"command\"");
        }
    }

    fn path(&mut self, written: Option<Spanned<String>>) -> String {
        let Some(written) = written else { return "/".to_owned() };
        if !written.get_ref().starts_with('/') || written.get_ref().parse::<hyper::Uri>().is_err() {
            let message = format!("{:?} is no path", written.get_ref());
            self.add(written.span(), message, "what follows the host in a URL, such as \"/health\"");
        }
        written.into_inner()
    }

    fn host(&mut self, written: Spanned<String>) -> String {
        if written.get_ref().is_empty() || written.get_ref().parse::<hyper::http::uri::Authority>().is_err() {
            let message = format!("{:?} is no host", written.get_ref());
            self.add(written.span(), message, "what browsers send, such as \"www.example.com\"");
        }
        written.into_inner()
    }

    fn status(&mut self, written: Option<Spanned<Vec<u16>>>) -> Vec<u16> {
        let Some(written) = written else { return vec![200] };
        let list = written.get_ref();
        if list.is_empty() || list.iter().any(|status| !(100..=599).contains(status)) {
            self.add(written.span(), "not a list of HTTP statuses", "the good ones, such as [200, 204]");
        }
        written.into_inner()
    }

    fn payload(&mut self, name: &str, text: Option<Spanned<String>>, hex: Option<Spanned<String>>) -> Vec<u8> {
        let (bytes, span) = match (text, hex) {
            (None, None) => return Vec::new(),
            (Some(text), None) => (text.get_ref().clone().into_bytes(), text.span()),
            (Some(_), Some(hex)) => {
                self.add(hex.span(), format!("{name} is given twice"), "as text or in hexadecimal digits");
                return Vec::new();
            }
            (None, Some(hex)) => match unhex(hex.get_ref()) {
                Some(bytes) => (bytes, hex.span()),
                None => {
                    self.add(
                        hex.span(),
                        "not bytes",
                        "pairs of hexadecimal digits, such as \"00ff\"; blanks may part them",
                    );
                    return Vec::new();
                }
            },
        };
        if bytes.len() > PAYLOAD_LEN_MAX {
            self.add(span, format!("{} bytes", bytes.len()), &format!("at most {PAYLOAD_LEN_MAX}"));
        }
        bytes
    }

    /// Program and arguments.
    pub fn command(&mut self, written: Spanned<Vec<String>>) -> Vec<String> {
        if written.get_ref().first().is_none_or(|program| !program.starts_with('/')) {
            let remedy = "the program's whole path and its arguments, such as [\"/usr/local/bin/queue\", \"--length\"]";
            self.add(written.span(), "not a command", remedy);
        }
        written.into_inner()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}
