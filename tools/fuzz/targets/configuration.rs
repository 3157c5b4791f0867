//! A configuration file: the values that both daemons' files are made of, with complaints on every one of them, as a
//! check would make them. Whatever the text is, there is a value or an error that can be shown.

#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use slr_daemon::config::{Complaint, parse_checked};
use slr_model::{
    ClassName, EchoPolicy, HostState, KeyMask, LoadName, Loads, MacAddr, NodeName, OrphanPolicy, PlacementPolicy, Role,
    Service, ServiceKey, Tier, VirtualSubnet, Weight,
};
use slr_policy::{Expression, Vocabulary};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Spanned<NodeName>>,
    tier: Option<Spanned<Tier>>,
    role: Option<Spanned<Role>>,
    address: Option<Spanned<IpAddr>>,
    listen: Option<Spanned<SocketAddr>>,
    mac: Option<Spanned<MacAddr>>,
    state: Option<Spanned<HostState>>,
    weight: Option<Spanned<Weight>>,
    loads: Option<Spanned<Loads>>,
    load: Option<Spanned<LoadName>>,
    policy: Option<Spanned<PlacementPolicy>>,
    cost: Option<Spanned<String>>,
    #[serde(default)]
    sources: Vec<Spanned<IpNet>>,
    #[serde(default)]
    service: Vec<Spanned<ServiceKey>>,
    #[serde(default)]
    subnet: Vec<Subnet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subnet {
    prefix: Spanned<VirtualSubnet>,
    key: Option<Spanned<KeyMask>>,
    orphans: Option<Spanned<OrphanPolicy>>,
    echo: Option<Spanned<EchoPolicy>>,
    class: Option<Spanned<ClassName>>,
    #[serde(default)]
    services: Vec<Spanned<Service>>,
}

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    Vocabulary::new([("load", 0.5), ("share", 1.0), ("rtt_ms", 1.0), ("weight", 1.0), ("hour", 12.0)]).with_loads()
});

fuzz_target!(|text: &str| {
    if let Err(error) = parse_checked::<File, ()>("slr-router.toml", text, |file| Err(complaints(&file))) {
        // Everything up to here could be read; this is what an operator is shown.
        std::hint::black_box(error.to_string());
    }
});

/// One complaint for each value there is; a formula is compiled, and evaluated if it compiles.
fn complaints(file: &File) -> Vec<Complaint> {
    let mut found = Vec::new();
    macro_rules! complain {
        ($($value:expr),* $(,)?) => {
            $(for value in ($value).iter() {
                found.push(Complaint::new(value.span(), format!("{:?}", value.get_ref()), "write something else"));
            })*
        };
    }
    complain!(&file.name, &file.tier, &file.role, &file.address, &file.listen, &file.mac, &file.state, &file.weight);
    complain!(&file.loads, &file.load, &file.policy, &file.sources, &file.service);
    for subnet in &file.subnet {
        complain!([&subnet.prefix], &subnet.key, &subnet.orphans, &subnet.echo, &subnet.class, &subnet.services);
    }
    if let Some(cost) = &file.cost {
        match Expression::compile(cost.get_ref(), &VOCABULARY) {
            Ok(expression) => {
                let _ = expression.evaluate(|_| Some(0.5));
            }
            Err(error) => found.push(Complaint::new(cost.span(), error.to_string(), "")),
        }
    }
    found
}
