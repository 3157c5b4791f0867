//! The private table: what is in it of ours, and making it say something else. Routes of others, by protocol number, are not
//! looked at and not touched.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Error, Handle};

use super::{Routes, Settings};

/// Every route of ours: a prefix may have several for a moment, while its metric changes.
pub type Found = BTreeSet<(IpNet, u32)>;

/// What is to be done, in this order: a prefix whose metric changes has both routes for a moment, never none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be added.
    pub add: Vec<(IpNet, u32)>,
    /// To be removed.
    pub remove: Vec<(IpNet, u32)>,
}

/// From what is there to what is wanted. Pure.
pub fn plan(found: &Found, wanted: &Routes) -> Plan {
    let wanted: Found = wanted.iter().map(|(prefix, metric)| (*prefix, *metric)).collect();
    Plan { add: wanted.difference(found).copied().collect(), remove: found.difference(&wanted).copied().collect() }
}

/// The best metric of each prefix, which is the one that a routing daemon goes by.
pub fn best(found: &Found) -> Routes {
    // In order, so the least of a prefix comes first.
    found.iter().rev().copied().collect()
}

/// A connection whose dumps the kernel filters by table: the main one may hold a million routes.
pub fn connect() -> Result<Handle> {
    let (connection, handle, _) =
        rtnetlink::new_connection_with_strict_check().context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Every route of ours.
pub async fn list(handle: &Handle, settings: &Settings) -> Result<Found> {
    let mut found = Found::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        question.header.protocol = RouteProtocol::from(settings.protocol);
        question.attributes.push(RouteAttribute::Table(settings.table));
        let mut answers = std::pin::pin!(handle.route().get(question).execute());
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(message) => found.extend(ours(&message, settings)),
                // A table that never had a route does not exist.
                Err(Error::NetlinkError(error)) if error.raw_code() == -nix::libc::ENOENT => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read routing table {}", settings.table));
                }
            }
        }
    }
    Ok(found)
}

fn ours(message: &RouteMessage, settings: &Settings) -> Option<(IpNet, u32)> {
    let mut table = u32::from(message.header.table);
    let mut metric = 0;
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => address = Some((*v4).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => address = Some((*v6).into()),
            _ => {}
        }
    }
    let is_ours = table == settings.table && u8::from(message.header.protocol) == settings.protocol;
    let prefix = IpNet::new(address?, message.header.destination_prefix_length).ok()?;
    is_ours.then_some((prefix, metric))
}

/// Carries a plan out; goes on after a refusal, and returns the first.
pub async fn carry_out(handle: &Handle, settings: &Settings, plan: &Plan) -> Result<()> {
    let mut first = Ok(());
    for (prefix, metric) in &plan.add {
        let done = handle.route().add(message(settings, *prefix, *metric)).execute().await;
        let done = done.with_context(|| {
            format!("cannot add {prefix} metric {metric} to table {}; is another program's there?", settings.table)
        });
        first = first.and(done);
    }
    for (prefix, metric) in &plan.remove {
        let done = match handle.route().del(message(settings, *prefix, *metric)).execute().await {
            // Somebody else was faster.
            Err(Error::NetlinkError(error)) if error.raw_code() == -nix::libc::ESRCH => Ok(()),
            done => done.with_context(|| format!("cannot remove {prefix} from table {}", settings.table)),
        };
        first = first.and(done);
    }
    first
}

fn message(settings: &Settings, prefix: IpNet, metric: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, address) = match prefix {
        IpNet::V4(net) => (AddressFamily::Inet, RouteAddress::Inet(net.network())),
        IpNet::V6(net) => (AddressFamily::Inet6, RouteAddress::Inet6(net.network())),
    };
    message.header = RouteHeader {
        address_family: family,
        destination_prefix_length: prefix.prefix_len(),
        protocol: RouteProtocol::from(settings.protocol),
        kind: RouteType::BlackHole,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(address),
        RouteAttribute::Table(settings.table),
        RouteAttribute::Priority(metric),
    ];
    message
}

/// Which of these interfaces have an XDP program, whoever put it there: what the kernel says, not what we believe.
pub async fn programs(handle: &Handle, interfaces: &[String]) -> Result<BTreeMap<String, bool>> {
    let mut found = BTreeMap::new();
    for name in interfaces {
        let mut answers = handle.link().get().match_name(name.clone()).execute();
        let has = match answers.next().await {
            Some(Ok(message)) => message.attributes.iter().any(is_attached),
            // No such interface.
            Some(Err(Error::NetlinkError(_))) | None => false,
            Some(Err(error)) => return Err(error).context("cannot ask for XDP programs"),
        };
        found.insert(name.clone(), has);
    }
    Ok(found)
}

fn is_attached(attribute: &LinkAttribute) -> bool {
    let LinkAttribute::Xdp(xdp) = attribute else { return false };
    xdp.iter().any(|one| matches!(one, LinkXdp::Attached(attached) if *attached != XdpAttached::None))
}

/// Removes every route of ours; how many those were.
pub async fn withdraw_all(settings: &Settings) -> Result<usize> {
    let handle = connect()?;
    let plan = plan(&list(&handle, settings).await?, &Routes::new());
    carry_out(&handle, settings, &plan).await?;
    Ok(plan.remove.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(routes: &[(&str, u32)]) -> Found {
        routes.iter().map(|(prefix, metric)| (prefix.parse().unwrap(), *metric)).collect()
    }

    #[test]
    fn a_metric_changes_by_adding_before_removing_and_what_is_stale_goes() {
        let there = found(&[("192.0.2.0/24", 100), ("198.51.100.0/24", 100), ("2001:db8::/48", 100)]);
        let wanted: Routes = best(&found(&[("192.0.2.0/24", 1000), ("2001:db8::/48", 100), ("2001:db8:1::/48", 100)]));
        let plan = plan(&there, &wanted);
        assert_eq!(found(&[("192.0.2.0/24", 1000), ("2001:db8:1::/48", 100)]), plan.add.into_iter().collect());
        assert_eq!(found(&[("192.0.2.0/24", 100), ("198.51.100.0/24", 100)]), plan.remove.into_iter().collect());
    }

    #[test]
    fn the_least_metric_of_a_prefix_is_what_is_announced() {
        let both = found(&[("192.0.2.0/24", 100), ("192.0.2.0/24", 1000)]);
        assert_eq!(best(&both).into_iter().collect::<Vec<_>>(), [("192.0.2.0/24".parse().unwrap(), 100)]);
        assert_eq!(plan(&both, &best(&both)).remove, [("192.0.2.0/24".parse().unwrap(), 1000)]);
    }
}
