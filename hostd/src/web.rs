//! What is read over HTTP: every `show`, and `trace`, which routers ask that follow a flow here.

use serde_json::Value;
use slr_daemon::api::{Parameter, Query, Route};
use slr_model::{FlowKey, HostTrace, Protocol};

use crate::recovery::Recovery;
use crate::status::{self, Request, Topic};

/// Everything that can be read.
pub const ROUTES: &[Route] = &[
    Route::plain::<Vec<status::Subnet>>("subnets", "Virtual subnets with their traffic", |_| show(Topic::Subnets)),
    Route::plain::<Vec<status::Interface>>("interfaces", "Interfaces at which tunnels arrive", |_| {
        show(Topic::Interfaces)
    }),
    Route::plain::<Vec<status::Counter>>("counters", "What became of packets, by reason", |_| show(Topic::Counters)),
    Route::plain::<Vec<status::Peer>>("peers", "Routers and hosts whose tunnels are accepted", |_| show(Topic::Peers)),
    Route::plain::<Vec<status::Session>>("sessions", "Sessions with the routers above", |_| show(Topic::Sessions)),
    Route::plain::<Vec<status::Service>>("services", "Services with their state and flows", |_| show(Topic::Services)),
    Route::plain::<Vec<status::Load>>("load", "Load values and what they come to", |_| show(Topic::Load)),
    Route::plain::<Vec<status::Check>>("health", "Health checks", |_| show(Topic::Health)),
    Route::plain::<status::Drained>("drain", "How far a drain is", |_| show(Topic::Drain)),
    Route::plain::<Recovery>("recovery", "Flows that stalled, and flows claimed", |_| show(Topic::Recovery)),
    Route {
        parameters: &[
            Parameter { name: "client", what: "address and port, such as 198.51.100.7:40000", is_required: true },
            Parameter { name: "virtual_host", what: "address and port, such as 192.0.2.9:80", is_required: true },
            Parameter { name: "protocol", what: "tcp (which is also the default) or udp", is_required: false },
        ],
        ..Route::plain::<HostTrace>("trace", "What this host does with a flow", trace)
    },
];

fn asked(request: &Request) -> Result<Value, String> {
    serde_json::to_value(request).map_err(|error| error.to_string())
}

fn show(topic: Topic) -> Result<Value, String> {
    asked(&Request::Show(topic))
}

fn trace(query: &Query) -> Result<Value, String> {
    let protocol = query.get("protocol")?.unwrap_or(Protocol::Tcp);
    let flow = FlowKey::new(query.required("client")?, query.required("virtual_host")?, protocol);
    asked(&Request::Trace { flow: flow.map_err(|error| error.to_string())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/openapi/hostd.json` is what the host serves.
    #[test]
    fn the_documentation_has_the_same_openapi_document() {
        let document = slr_daemon::api::document("hostd", env!("CARGO_PKG_VERSION"), ROUTES);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi/hostd.json");
        let expected = serde_json::to_string_pretty(&document).unwrap() + "\n";
        if std::env::var_os("SLR_WRITE_DOCS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected, "SLR_WRITE_DOCS=1 and this test write it");
    }
}
