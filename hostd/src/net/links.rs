//! Virtual-subnet interfaces and their routes, through rtnetlink.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Error, Handle, LinkBridge, LinkDummy, LinkUnspec, RouteMessageBuilder};
use slr_model::VirtualSubnet;
use tokio::task::JoinHandle;

use super::plan::Seen;
use super::sysctl;

/// How interfaces of ours are known.
const ALIAS: &str = "virtual subnets of hostd";
/// Kind of the kernel's answer for a link type that it does not have.
const NOT_SUPPORTED: i32 = -libc::EOPNOTSUPP;
const TABLE_LOCAL: u8 = 255;

/// A netlink socket of the current network namespace.
pub struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Links {
    /// Opens the socket. Needs a tokio runtime.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Every interface, and the `local` routes on those that are ours.
    pub async fn observe(&self) -> Result<BTreeMap<String, Seen>> {
        let messages: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        let mut seen = BTreeMap::new();
        let mut names = BTreeMap::new();
        for message in &messages {
            let Some(name) = name_of(message) else { continue };
            let ours = message.attributes.iter().any(|a| matches!(a, LinkAttribute::IfAlias(alias) if alias == ALIAS));
            let up = message.header.flags.contains(LinkFlags::Up);
            if ours {
                names.insert(message.header.index, name.clone());
            }
            seen.insert(name, Seen { ours, up, ..Seen::default() });
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let routes: Vec<RouteMessage> = self.handle.route().get(question).execute().try_collect().await?;
            for (index, net) in routes.iter().filter_map(local_route) {
                if let (Some(name), Ok(subnet)) = (names.get(&index), VirtualSubnet::new(net)) {
                    seen.get_mut(name).expect("named above").routes.insert(subnet);
                }
            }
        }
        Ok(seen)
    }

    /// MTU of every interface.
    pub async fn mtus(&self) -> Result<BTreeMap<String, u32>> {
        let messages: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        let mtu = |m: &LinkMessage| {
            m.attributes.iter().find_map(|a| if let LinkAttribute::Mtu(mtu) = a { Some(*mtu) } else { None })
        };
        Ok(messages.iter().filter_map(|m| Some((name_of(m)?, mtu(m)?))).collect())
    }

    async fn index(&self, name: &str) -> Result<u32> {
        let answers = self.handle.link().get().match_name(name.to_owned()).execute().try_next().await?;
        Ok(answers.with_context(|| format!("interface {name} is gone"))?.header.index)
    }

    /// Makes an interface that carries no frames: a dummy, or where the kernel has none a bridge without ports.
    pub async fn create(&self, name: &str) -> Result<()> {
        let dummy = self.handle.link().add(LinkDummy::new(name).down().build()).execute().await;
        match dummy {
            Err(Error::NetlinkError(ref e)) if e.code.is_some_and(|code| code.get() == NOT_SUPPORTED) => {
                self.handle.link().add(LinkBridge::new(name).down().build()).execute().await?;
            }
            other => other?,
        }
        let index = self.index(name).await?;
        // The alias makes it ours, so it comes before anything that can fail.
        self.handle
            .link()
            .set(LinkUnspec::new_with_index(index).append_extra_attribute(LinkAttribute::IfAlias(ALIAS.into())).build())
            .execute()
            .await?;
        // Before it comes up: no link-local address, no autoconfiguration; it has no neighbours.
        sysctl::silence(name)?;
        self.raise(name).await
    }

    /// Sets an interface up.
    pub async fn raise(&self, name: &str) -> Result<()> {
        let index = self.index(name).await?;
        Ok(self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?)
    }

    /// Deletes an interface, its routes with it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let index = self.index(name).await?;
        Ok(self.handle.link().del(index).execute().await?)
    }

    /// Makes every address of the range local. Takes the place of the same range's route on another interface.
    pub async fn add_route(&self, name: &str, subnet: VirtualSubnet) -> Result<()> {
        let route = route(self.index(name).await?, subnet);
        Ok(self.handle.route().add(route).replace().execute().await?)
    }

    /// The opposite; a route that is gone already is no error.
    pub async fn remove_route(&self, name: &str, subnet: VirtualSubnet) -> Result<()> {
        let route = route(self.index(name).await?, subnet);
        match self.handle.route().del(route).execute().await {
            Err(Error::NetlinkError(e)) if e.code.is_some_and(|code| code.get() == -libc::ESRCH) => Ok(()),
            Err(e) => bail!(e),
            Ok(()) => Ok(()),
        }
    }
}

fn name_of(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|a| if let LinkAttribute::IfName(name) = a { Some(name.clone()) } else { None })
}

fn route(index: u32, subnet: VirtualSubnet) -> RouteMessage {
    let net = subnet.net();
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(net.addr(), net.prefix_len())
        .expect("a prefix of its own family")
        .output_interface(index);
    let mut message = builder.build();
    message.header.table = TABLE_LOCAL;
    message.header.kind = RouteType::Local;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = if net.addr().is_ipv4() { RouteScope::Host } else { RouteScope::Universe };
    message
}

/// Interface and range of a `local` route in table `local`.
fn local_route(message: &RouteMessage) -> Option<(u32, IpNet)> {
    if message.header.kind != RouteType::Local || message.header.table != TABLE_LOCAL {
        return None;
    }
    let mut index = None;
    let mut address: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => address = Some((*v4).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => address = Some((*v6).into()),
            _ => {}
        }
    }
    Some((index?, IpNet::new(address?, message.header.destination_prefix_length).ok()?))
}
