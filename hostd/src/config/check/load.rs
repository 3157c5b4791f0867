//! `[[load]]` and the expressions over them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use slr_model::Loads;
use slr_policy::{Expression, Vocabulary};
use toml::Spanned;

use super::Complaints;
use super::service::ServiceLoads;
use crate::config::file::{self, SourceKind};
use crate::http::Get;
use crate::load::{COMBINED, FLOWS, Formulas, Kind, Share, Source};

/// Often enough for routers that look every few hundred milliseconds; reading a counter costs microseconds.
const INTERVAL: Duration = Duration::from_millis(500);
/// Starting a program costs milliseconds, and the application has other work than to be asked.
const INTERVAL_COSTLY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Values of a host that configures none.
const CPU: &str = "cpu";

impl Complaints {
    /// The sources, and what is made of them for the host and for services.
    pub fn loads(
        &mut self,
        written: Vec<file::Load>,
        combined: Option<Spanned<String>>,
        of_services: ServiceLoads,
    ) -> (Vec<Source>, Formulas) {
        let mut sources = Vec::<Source>::new();
        let last = written.last().map(|load| load.name.span());
        for load in written {
            let name = load.name.get_ref();
            if sources.iter().any(|known| known.name == *name) {
                self.add(load.name.span(), "load value given twice", "each has a name of its own");
            }
            if [COMBINED, FLOWS].contains(&name.as_str()) {
                let remedy = "another name: `load` is what the expression makes, `flows` the connections";
                self.add(load.name.span(), format!("{name} is not for a source"), remedy);
            }
            // One place is for `load` itself.
            if sources.len() == Loads::MAX - 1 {
                let message = format!("more than {} load values", Loads::MAX - 1);
                self.add(load.name.span(), message, "an advert carries no more");
            }
            sources.extend(self.source(load));
        }
        let combined = match (combined, &*sources) {
            (Some(combined), _) => Some((combined.get_ref().clone(), combined.span())),
            (None, [only]) => Some((only.name.to_string(), 0..0)),
            (None, []) => Some((CPU.to_owned(), 0..0)),
            (None, [..]) => {
                let remedy = "say in [host] what they come to, such as load = \"max(cpu, 0.5 * queue)\"";
                self.add(last.unwrap_or(0..0), "several load values and no expression", remedy);
                None
            }
        };
        if sources.is_empty() {
            sources.push(machine_cpu());
        }
        let names = sources.iter().map(|source| source.name.as_str()).chain([FLOWS]);
        let vocabulary = Vocabulary::new(names.map(|name| (name, 0.5)));
        let host = combined.and_then(|(text, span)| self.formula(&text, span, &vocabulary));
        let services = of_services
            .into_iter()
            .filter_map(|(key, text)| Some((key, self.formula(text.get_ref(), text.span(), &vocabulary)?)))
            .collect::<BTreeMap<_, _>>();
        (sources, Formulas { host, services })
    }

    fn formula(&mut self, text: &str, span: std::ops::Range<usize>, vocabulary: &Vocabulary) -> Option<Expression> {
        match Expression::compile(text, vocabulary) {
            Ok(expression) => Some(expression),
            Err(error) => {
                let known = vocabulary.names().collect::<Vec<_>>().join(", ");
                self.add(span, error.to_string(), &format!("known here: {known}"));
                None
            }
        }
    }

    fn source(&mut self, written: file::Load) -> Option<Source> {
        let costly = matches!(written.source, SourceKind::Command | SourceKind::Http);
        let default = if costly { INTERVAL_COSTLY } else { INTERVAL };
        let interval = self.millis("interval_ms", &written.interval_ms, default, 50..=3_600_000);
        let timeout = self.millis("timeout_ms", &written.timeout_ms, TIMEOUT, 10..=60_000);
        // Two readings may fail.
        let stale_default = 3 * interval.max(timeout);
        let stale_after = self.millis("stale_after_ms", &written.stale_after_ms, stale_default, 100..=86_400_000);
        let name = written.name.get_ref().clone();
        Some(Source { name, kind: self.source_kind(written)?, interval, timeout, stale_after })
    }

    fn source_kind(&mut self, written: file::Load) -> Option<Kind> {
        let kind = written.source;
        let span = written.name.span();
        if !matches!(kind, SourceKind::Cpu | SourceKind::Pressure) {
            self.unused("cgroup", &written.cgroup, "source \"cpu\" and \"pressure\"");
        }
        if kind != SourceKind::Cpu || written.cgroup.is_none() {
            self.unused("cpus", &written.cpus, "source \"cpu\" of a cgroup");
        }
        if kind != SourceKind::Pressure {
            self.unused("resource", &written.resource, "source \"pressure\"");
            self.unused("share", &written.share, "source \"pressure\"");
        }
        if kind != SourceKind::Command {
            self.unused("command", &written.command, "source \"command\"");
        }
        if kind != SourceKind::Http {
            self.unused("url", &written.url, "source \"http\"");
            self.unused("pointer", &written.pointer, "source \"http\"");
        }
        let cgroup = written.cgroup.map(|path| self.absolute(path));
        match kind {
            SourceKind::Connections => Some(Kind::Connections),
            SourceKind::Cpu => Some(Kind::Cpu { cgroup, cpus: written.cpus.map(|cpus| self.cpus(cpus)) }),
            SourceKind::Pressure => match written.resource {
                Some(resource) => Some(Kind::Pressure {
                    resource: resource.into_inner(),
                    share: written.share.map_or(Share::default(), Spanned::into_inner),
                    cgroup,
                }),
                None => self.missing(span, "no resource", "resource = \"cpu\", \"memory\" or \"io\""),
            },
            SourceKind::Command => match written.command {
                Some(command) => Some(Kind::Command { words: self.command(command) }),
                None => self.missing(span, "no command", "command = [\"/usr/local/bin/queue-length\"]"),
            },
            SourceKind::Http => match written.url {
                Some(url) => Some(Kind::Http {
                    get: self.url(url)?,
                    pointer: written.pointer.map(|pointer| self.pointer(pointer)),
                }),
                None => self.missing(span, "no url", "url = \"http://127.0.0.1:8080/status\""),
            },
        }
    }

    fn missing(&mut self, span: std::ops::Range<usize>, message: &str, remedy: &str) -> Option<Kind> {
        self.add(span, message, remedy);
        None
    }

    fn cpus(&mut self, written: Spanned<f64>) -> f64 {
        if !(0.001..=4096.0).contains(written.get_ref()) {
            self.add(written.span(), "not a number of CPUs", "0.001 to 4096");
        }
        written.into_inner()
    }

    fn pointer(&mut self, written: Spanned<String>) -> String {
        if !written.get_ref().is_empty() && !written.get_ref().starts_with('/') {
            self.add(
                written.span(),
                "not a JSON pointer (RFC 6901)",
                "the way to the number, such as \"/workers/busy\"",
            );
        }
        written.into_inner()
    }

    /// Names are not looked up: the application is on this host, and a name server that hangs is no load.
    fn url(&mut self, written: Spanned<String>) -> Option<Get> {
        let parsed = written.get_ref().parse::<hyper::Uri>().ok().and_then(|uri| {
            let authority = uri.authority()?.clone();
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            let address = match host {
                "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
                host => host.parse().ok()?,
            };
            let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            let to = SocketAddr::new(address, authority.port_u16().unwrap_or(80));
            let plain = uri.scheme_str() == Some("http") && !authority.as_str().contains('@');
            plain.then(|| Get { to, own_source: false, host: authority.to_string(), path })
        });
        if parsed.is_none() {
            let remedy = "plain HTTP at an address or localhost, such as \"http://127.0.0.1:8080/status\"";
            self.add(written.span(), "no URL that can be asked", remedy);
        }
        parsed
    }
}

/// What a host is measured by that says nothing else.
fn machine_cpu() -> Source {
    Source {
        name: CPU.parse().expect("a good name"),
        kind: Kind::Cpu { cgroup: None, cpus: None },
        interval: INTERVAL,
        timeout: TIMEOUT,
        stale_after: 3 * TIMEOUT,
    }
}
