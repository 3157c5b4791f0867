//! What is read over HTTP: every `show`, `trace`, the overview and its history, and the web page that draws them.

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;
use slr_daemon::api::{Asset, Parameter, Query, Route};
use slr_model::{FlowKey, Protocol};

use crate::cli::prefix_or_address;
use crate::daemon::Request;
use crate::overview::{Overview, history::Series};
use crate::show::{FLOWS_MAX, FlowFilter, What, announce, control, mirror, recovery, rows};
use crate::trace::Trace;

/// The page. It asks for `/api/v1/overview` and draws it.
pub const ASSETS: &[Asset] = &[
    Asset { path: "/", kind: "text/html; charset=utf-8", body: include_str!("web/page.html") },
    Asset { path: "/page.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/page.js") },
    Asset { path: "/tables.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/tables.js") },
    Asset { path: "/topology.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/topology.js") },
    Asset { path: "/words.js", kind: "text/javascript; charset=utf-8", body: include_str!("web/words.js") },
    Asset { path: "/page.css", kind: "text/css; charset=utf-8", body: include_str!("web/page.css") },
];

/// Everything that can be read.
pub const ROUTES: &[Route] = &[
    Route::plain::<Overview>("overview", "The router at a glance", |_| asked(&Request::Overview)),
    Route::plain::<Series>("history", "Hosts' shares of new flows and costs, the last minutes", |_| {
        asked(&Request::History)
    }),
    Route::plain::<Vec<rows::Host>>("hosts", "Next hops: state, link, traffic, pinned flows", |_| show(What::Hosts)),
    Route::plain::<Vec<control::Session>>("sessions", "Children of this router and their connections", |_| {
        show(What::Sessions)
    }),
    Route::plain::<Vec<control::State>>("states", "Each host's state for each service, and why", |_| {
        show(What::States)
    }),
    Route::plain::<Vec<control::Ring>>("policy", "Rings, and how their weights came about", |_| show(What::Policy)),
    Route::plain::<Vec<control::Alarm>>("alarms", "What somebody should look at", |_| show(What::Alarms)),
    Route::plain::<announce::Announced>("announce", "What the routers around are told", |_| show(What::Announce)),
    Route::plain::<recovery::Recovery>("recovery", "Flows that no router remembered", |_| show(What::Recovery)),
    Route::plain::<mirror::Mirror>("mirror", "Flows that the cluster's other members have too", |_| show(What::Mirror)),
    Route::plain::<Vec<rows::Subnet>>("subnets", "Virtual subnets, and each host's share", |_| show(What::Subnets)),
    Route {
        parameters: &[
            Parameter { name: "limit", what: "flows at most, 1 to 100000 (100)", is_required: false },
            Parameter { name: "client", what: "only of clients with this address or prefix", is_required: false },
            Parameter { name: "host", what: "only of this host", is_required: false },
        ],
        request: flows,
        ..Route::plain::<rows::Flows>("flows", "Flows that are remembered, pinned ones first", flows)
    },
    Route::plain::<Vec<rows::Hop>>("hops", "Hop templates as the kernel has them", |_| show(What::Hops)),
    Route::plain::<Vec<rows::Counter>>("counters", "Every reason with its counter", |_| show(What::Counters)),
    Route::plain::<Vec<rows::Counter>>("drops", "What was dropped, why, and what usually helps", |_| show(What::Drops)),
    Route {
        parameters: &[
            Parameter { name: "client", what: "address and port, such as 198.51.100.7:40000", is_required: true },
            Parameter { name: "virtual_host", what: "address and port, such as 192.0.2.9:80", is_required: true },
            Parameter { name: "protocol", what: "tcp (which is also the default) or udp", is_required: false },
        ],
        answer: |schemas: &mut SchemaGenerator| -> Schema { schemas.subschema_for::<Trace>() },
        ..Route::plain::<Trace>("trace", "What becomes of a flow's packets, and why", trace)
    },
];

fn asked(request: &Request) -> Result<Value, String> {
    serde_json::to_value(request).map_err(|error| error.to_string())
}

fn show(what: What) -> Result<Value, String> {
    asked(&Request::Show(what))
}

fn flows(query: &Query) -> Result<Value, String> {
    let limit = query.get("limit")?.unwrap_or(100_u32);
    if !(1..=FLOWS_MAX).contains(&i64::from(limit)) {
        return Err(format!("limit={limit}: it is 1 to {FLOWS_MAX}"));
    }
    let client = query.get::<String>("client")?.map(|text| prefix_or_address(&text)).transpose()?;
    show(What::Flows(FlowFilter { limit, client, host: query.get("host")? }))
}

fn trace(query: &Query) -> Result<Value, String> {
    let protocol = query.get("protocol")?.unwrap_or(Protocol::Tcp);
    let flow = FlowKey::new(query.required("client")?, query.required("virtual_host")?, protocol);
    asked(&Request::Trace { flow: flow.map_err(|error| error.to_string())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_the_admin_sockets_request() {
        let route = |name| ROUTES.iter().find(|route| route.name == name).unwrap();
        let ask = |name, query| {
            let route = route(name);
            Query::parse(query, route.parameters)
                .and_then(|query| (route.request)(&query))
                .map(|value| value.to_string())
        };
        assert_eq!(ask("hosts", ""), Ok(r#"{"show":"hosts"}"#.to_owned()));
        let flows = ask("flows", "client=10.0.0.1&limit=3").unwrap();
        assert_eq!(flows, r#"{"show":{"flows":{"client":"10.0.0.1/32","host":null,"limit":3}}}"#);
        assert!(ask("flows", "limit=0").unwrap_err().contains("1 to 100000"));
        let trace = ask("trace", "client=[2001:db8::7]:40000&virtual_host=[2001:db8:1::9]:80&protocol=udp").unwrap();
        assert_eq!(trace, r#"{"trace":{"flow":"udp [2001:db8::7]:40000 > [2001:db8:1::9]:80"}}"#);
        assert!(ask("trace", "client=10.0.0.1:1&virtual_host=[2001:db8::1]:80").is_err(), "two families");
        assert!(ask("trace", "client=10.0.0.1:1").unwrap_err().contains("virtual_host"));
    }

    /// `docs/openapi/slr-router.json` is what the router serves.
    #[test]
    fn the_documentation_has_the_same_openapi_document() {
        let document = slr_daemon::api::document("slr-router", env!("CARGO_PKG_VERSION"), ROUTES);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi/slr-router.json");
        let expected = serde_json::to_string_pretty(&document).unwrap() + "\n";
        if std::env::var_os("SLR_WRITE_DOCS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected, "SLR_WRITE_DOCS=1 and this test write it");
    }
}
