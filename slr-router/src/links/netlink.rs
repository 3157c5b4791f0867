//! The kernel's answers about interfaces, routes and neighbours, as [`Facts`]; and the one thing that is asked of it: to
//! keep a neighbour resolved.
//!
//! XDP bypasses the stack, so no packet of ours ever confirms a neighbour: unmanaged, an entry goes stale and is collected
//! while traffic flows to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Context;
use futures_util::StreamExt;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Error, Handle};
use slr_model::MacAddr;

use super::Target;
use super::facts::{Facts, Interface, Neighbour, NeighbourKey, Route};

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One of the neighbours that links depend on.
    Neighbours,
    /// Routes or rules: anything may be different.
    Everything,
    /// Interfaces or addresses: everything, and neighbours that did not answer may answer now.
    Interfaces,
}

/// What this notification makes us look at again. `wanted`: the neighbours that links depend on; others are noise.
pub fn scope(payload: &NetlinkPayload<RouteNetlinkMessage>, wanted: &BTreeSet<NeighbourKey>) -> Option<Scope> {
    use RouteNetlinkMessage::{DelAddress, DelLink, DelNeighbour, NewAddress, NewLink, NewNeighbour};
    match payload {
        NetlinkPayload::InnerMessage(NewNeighbour(message) | DelNeighbour(message)) => {
            neighbour_key(message).filter(|key| wanted.contains(key)).map(|_| Scope::Neighbours)
        }
        // An address that leaves its tentative state is among these: before, nobody could be asked from it.
        NetlinkPayload::InnerMessage(NewLink(_) | DelLink(_) | NewAddress(_) | DelAddress(_)) => {
            Some(Scope::Interfaces)
        }
        NetlinkPayload::InnerMessage(_) => Some(Scope::Everything),
        // Notifications were lost: any could have been among them.
        NetlinkPayload::Overrun(_) | NetlinkPayload::Error(_) => Some(Scope::Interfaces),
        _ => None,
    }
}

/// Asks for everything that the links of `targets` depend on.
pub async fn gather(handle: &Handle, targets: &[Target]) -> Result<Facts, Error> {
    let mut facts = Facts { interfaces: interfaces(handle).await?, ..Facts::default() };
    for target in targets {
        if let Some(route) = route(handle, target.address).await? {
            facts.routes.insert(target.address, route);
        }
    }
    facts.neighbours = neighbours(handle).await?;
    Ok(facts)
}

async fn interfaces(handle: &Handle) -> Result<BTreeMap<u32, Interface>, Error> {
    let mut answers = handle.link().get().execute();
    let mut interfaces = BTreeMap::new();
    while let Some(message) = answers.next().await {
        let message = message?;
        interfaces.insert(message.header.index, interface(&message));
    }
    Ok(interfaces)
}

fn interface(message: &LinkMessage) -> Interface {
    let mut found =
        Interface { name: String::new(), mac: None, mtu: 0, up: message.header.flags.contains(LinkFlags::Up) };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::Address(address) if message.header.link_layer_type == LinkLayerType::Ether => {
                found.mac = mac(address);
            }
            _ => {}
        }
    }
    found
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    <[u8; 6]>::try_from(bytes).ok().map(MacAddr).filter(|mac| !mac.is_zero())
}

/// The way to an address; `None` if there is none through an interface.
async fn route(handle: &Handle, address: IpAddr) -> Result<Option<Route>, Error> {
    let mut question = RouteMessage::default();
    (question.header.address_family, question.header.destination_prefix_length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.attributes.push(RouteAttribute::Destination(address.into()));
    let mut answers = std::pin::pin!(handle.route().get(question).execute());
    match answers.next().await {
        Some(Ok(message)) => Ok(found_route(&message)),
        // "Network is unreachable" and the like: an answer, not a failure.
        Some(Err(Error::NetlinkError(_))) | None => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

fn found_route(message: &RouteMessage) -> Option<Route> {
    if message.header.kind != RouteType::Unicast {
        return None; // local, blackhole, unreachable, prohibit
    }
    let mut route = Route { ifindex: 0, gateway: None, mtu: None };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => route.ifindex = *ifindex,
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
                route.gateway = Some(IpAddr::V4(*v4));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
                route.gateway = Some(IpAddr::V6(*v6));
            }
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (route.ifindex != 0).then_some(route)
}

/// The neighbour table, both families.
pub async fn neighbours(handle: &Handle) -> Result<BTreeMap<NeighbourKey, Neighbour>, Error> {
    let mut neighbours = BTreeMap::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut answers = handle.neighbours().get().set_address_family(family).execute();
        while let Some(message) = answers.next().await {
            let message = message?;
            if let Some(key) = neighbour_key(&message) {
                neighbours.insert(key, neighbour(&message));
            }
        }
    }
    Ok(neighbours)
}

fn neighbour_key(message: &NeighbourMessage) -> Option<NeighbourKey> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    address.map(|address| (message.header.ifindex, address))
}

fn neighbour(message: &NeighbourMessage) -> Neighbour {
    use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
    let state = message.header.state;
    // The kernel's NUD_VALID: an address in these states is used, whether or not it was confirmed lately.
    let valid = matches!(state, Permanent | Noarp | Reachable | Probe | Stale | Delay);
    let mut found = Neighbour { mac: None, fixed: matches!(state, Permanent | Noarp), managed: false };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(address) if valid => found.mac = mac(address),
            NeighbourAttribute::ExtFlags(flags) => found.managed = flags.contains(NeighbourExtFlags::Managed),
            _ => {}
        }
    }
    found
}

/// Asks the kernel to resolve a neighbour and, with `managed`, to keep it resolved. Kernels before 5.16 ignore or refuse
/// the latter and resolve it once: the caller asks again. Without `managed` an entry goes back to ordinary ageing.
pub async fn resolve(handle: &Handle, key: NeighbourKey, managed: bool) -> Result<(), Error> {
    let question = |managed: bool| {
        let (ifindex, address) = key;
        let mut request =
            handle.neighbours().add(ifindex, address).state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
        if managed {
            let flags = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
            request.message_mut().attributes.push(flags);
        }
        request.execute()
    };
    match question(managed).await {
        Err(Error::NetlinkError(_)) if managed => question(false).await,
        other => other,
    }
}

/// Lets go of the neighbours that links of `targets` depend on. Returns how many the kernel no longer manages.
pub async fn release(targets: &[Target]) -> anyhow::Result<usize> {
    let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let facts = gather(&handle, targets).await?;
    let is_managed = |key: &NeighbourKey| facts.neighbours.get(key).is_some_and(|neighbour| neighbour.managed);
    let managed: Vec<NeighbourKey> = facts.neighbours_wanted(targets).into_iter().filter(is_managed).collect();
    for key in &managed {
        resolve(&handle, *key, false).await?;
    }
    connection.abort();
    Ok(managed.len())
}
