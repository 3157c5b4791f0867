//! Routes: how a sequence changes them, and which one decides for a flow, told in another way than the program has it.

use std::net::IpAddr;

use slr_dataplane::router::{Class, Route, Subnet};
use slr_model::{ClassName, KeyField, KeyMask, Protocol, Service};

use crate::common::site;
use crate::model::Flow;
use crate::plan::{CLASSES, CLIENTS, Routing, SERVICES};

/// Change a subnet's routes. What a class had goes with it.
pub fn change(subnet: &mut Subnet, what: Routing, hosts: &[String]) {
    let class_name = |class: usize| CLASSES[class].parse::<ClassName>().expect("the name of a class");
    match what {
        Routing::ListedOnly(on) => subnet.listed_only = on,
        Routing::EchoForward => subnet.echo = slr_model::EchoPolicy::Forward,
        Routing::Route { class, service, hosts: chosen, mask } => {
            remove(subnet, class, service);
            let members: Vec<&str> =
                hosts.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, name)| name.as_str()).collect();
            let class = class.map(|class| CLASSES[class]);
            if class.is_none_or(|class| subnet.classes.iter().any(|other| other.name.as_str() == class)) {
                let fields: Vec<KeyField> = KeyField::ALL.iter().copied().filter(|f| f.bit() & mask != 0).collect();
                let key_mask = KeyMask::new(&fields).expect("some field");
                let service = service.map(|service| SERVICES[service]);
                subnet.routes.push(Route { key_mask, ..site::route(class, service, &members) });
            }
        }
        Routing::NoRoute { class, service } => remove(subnet, class, service),
        Routing::Class { class, clients } => {
            let taken: Vec<_> =
                subnet.classes.iter().filter(|c| c.name != class_name(class)).flat_map(|c| &c.clients).collect();
            let clients = CLIENTS.iter().enumerate().filter(|(i, _)| clients >> i & 1 == 1);
            let clients = clients.map(|(_, client)| client.parse().expect("a prefix"));
            let clients = clients.filter(|client| !taken.contains(&client)).collect();
            subnet.classes.retain(|c| c.name != class_name(class));
            subnet.classes.push(Class { name: class_name(class), clients });
        }
        Routing::NoClass(class) => {
            subnet.classes.retain(|c| c.name != class_name(class));
            subnet.routes.retain(|route| route.class != Some(class_name(class)));
        }
    }
}

fn remove(subnet: &mut Subnet, class: Option<usize>, service: Option<usize>) {
    let (class, service) = (class.map(|class| CLASSES[class]), service.map(|service| SERVICES[service]));
    let is_it = |route: &Route| {
        route.class.as_ref().map(ClassName::as_str) == class
            && route.service.map(|s| s.to_string()).as_deref() == service
    };
    subnet.routes.retain(|route| !is_it(route));
}

/// Which service a flow is of; ICMP is none.
fn service_of(flow: &Flow) -> Option<Service> {
    let protocol = Protocol::from_number(flow.protocol)?;
    Some(Service { protocol, port: flow.to.port().try_into().ok()? })
}

fn class_of(subnet: &Subnet, client: IpAddr) -> Option<&ClassName> {
    let all = subnet.classes.iter().flat_map(|class| class.clients.iter().map(move |prefix| (prefix, &class.name)));
    all.filter(|(prefix, _)| prefix.contains(&client))
        .max_by_key(|(prefix, _)| prefix.prefix_len())
        .map(|(_, name)| name)
}

/// Whether the subnet serves the flow at all.
pub fn serves(subnet: &Subnet, flow: &Flow) -> bool {
    !subnet.listed_only || service_of(flow).is_none_or(|_| by_service(subnet, flow).next().is_some())
}

/// Routes that name the flow's service, for its class or for all.
fn by_service<'a>(subnet: &'a Subnet, flow: &Flow) -> impl Iterator<Item = &'a Route> {
    let (service, class) = (service_of(flow), class_of(subnet, flow.client.ip()));
    let named = subnet.routes.iter().filter(move |route| service.is_some() && route.service == service);
    named.filter(move |route| route.class.is_none() || route.class.as_ref() == class)
}

/// The route of a flow: the best rank of those that fit it.
pub fn route<'a>(subnet: &'a Subnet, flow: &Flow) -> Option<&'a Route> {
    let (service, class) = (service_of(flow), class_of(subnet, flow.client.ip()));
    let rank = |route: &&Route| 2 * u8::from(route.service.is_some()) + u8::from(route.class.is_some());
    let fits = |route: &&Route| {
        (route.service.is_none() || route.service == service)
            && (route.class.is_none() || route.class.as_ref() == class)
    };
    subnet.routes.iter().filter(fits).max_by_key(rank)
}
