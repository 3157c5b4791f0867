//! A site, and the words of its hosts.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use slr_model::{KeyMask, Protocol};
use slr_testkit::packet::pkt;
use slr_wire::{AdvertKey, FlowAdvert, FlowSecret};
use xtask::raw::RawSender;
use xtask::site::{Site, SiteOptions, VIRTUAL};

pub const SOON: Duration = Duration::from_secs(20);
/// The client whose kernel returns echoes, over each family; and another one.
pub const CLIENT: [&str; 2] = ["10.0.1.2", "fd00:0:1::2"];
pub const OTHER_CLIENT: &str = "10.0.2.2";
/// Length of the prefixes that [`VIRTUAL`] is in.
const PREFIX_LEN: [u8; 2] = [24, 48];
const HTTP: u16 = 80;

/// A site with its secret.
pub struct Scene {
    pub site: Site,
    secret: FlowSecret,
    serial: u64,
}

impl Scene {
    pub fn up(prefix: &str) -> Self {
        let mut options = SiteOptions::default();
        options.subnets.truncate(2);
        Self::with(prefix, options)
    }

    pub fn with(prefix: &str, options: SiteOptions) -> Self {
        let site = Site::up(prefix, options).unwrap();
        let text = std::fs::read_to_string(site.authority().unwrap().flow_secret()).unwrap();
        Self { site, secret: text.parse().unwrap(), serial: 0 }
    }

    /// The epoch of the router's keys.
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.recovery()["flow_epoch"].as_u64().unwrap()).unwrap()
    }

    pub fn recovery(&self) -> Value {
        self.site.show("recovery").unwrap()
    }

    /// What became of flows that were told of: pinned, known, sent on, and refused for that reason.
    pub fn counted(&self, refused: &str) -> [u64; 4] {
        let adverts = self.recovery()["adverts"].clone();
        let all = [&adverts["pinned"], &adverts["known"], &adverts["sent_on"], &adverts["refused"][refused]];
        all.map(|count| count.as_u64().unwrap())
    }

    /// What h1, h2 or h3 has to say of the client's flow from this port to [`VIRTUAL`] of a family.
    pub fn advert(&mut self, host: &str, family: usize, port: u16) -> FlowAdvert {
        self.serial += 1;
        FlowAdvert {
            client: CLIENT[family].parse().unwrap(),
            virtual_address: VIRTUAL[family].parse().unwrap(),
            prefix_len: PREFIX_LEN[family],
            server: tunnel_address(host),
            node: host.parse().unwrap(),
            epoch: self.epoch(),
            serial: self.serial,
            mask: KeyMask::ALL,
            flows: vec![(port, HTTP, Protocol::Tcp)],
        }
    }

    /// The key that the router grants for it.
    pub fn key(&self, advert: &FlowAdvert) -> AdvertKey {
        advert.key(&self.secret.master(advert.epoch))
    }

    /// The host sends its echo request; the client's kernel does the rest.
    pub fn echo(&self, advert: &FlowAdvert) {
        let key = self.key(advert);
        let message = advert.echo_request(&key, 1, advert.serial as u16).unwrap();
        let datagram = datagram(advert.virtual_address, advert.client, &message);
        self.send(advert.node.as_str(), &datagram);
    }

    /// Sends a datagram as it is out of a node.
    pub fn send(&self, node: &str, datagram: &[u8]) {
        let datagram = datagram.to_vec();
        let sent = self.site.lab().with_netns(node, move || RawSender::open().unwrap().send(&datagram));
        sent.unwrap().unwrap();
    }

    /// The host that a flow is pinned to.
    pub fn pinned_to(&self, family: usize, port: u16) -> Option<String> {
        let answer = self.site.show("flows").unwrap();
        let client = std::net::SocketAddr::new(CLIENT[family].parse().unwrap(), port).to_string();
        let mut all = answer["flows"].as_array().unwrap().iter();
        let found = all.find(|flow| flow["client"] == client && flow["pinned"] == true)?;
        Some(found["host"].as_str().unwrap().to_owned())
    }

    pub fn packets(&self, reason: &str) -> u64 {
        self.site.reason("slr1", reason).unwrap()
    }
}

/// Where a host takes tunnels.
pub fn tunnel_address(host: &str) -> IpAddr {
    format!("10.1.1{}.2", host.trim_start_matches('h')).parse().unwrap()
}

/// An ICMP message on its way.
pub fn datagram(from: IpAddr, to: IpAddr, message: &[u8]) -> Vec<u8> {
    pkt().ip(from, to).next(if from.is_ipv4() { 1 } else { 58 }).payload(message).build()
}

/// What the client's kernel makes of a request: the same message with another type. Its checksum is nobody's concern on the way.
pub fn answered(advert: &FlowAdvert, key: &AdvertKey) -> Vec<u8> {
    let mut message = advert.echo_request(key, 1, 1).unwrap().to_vec();
    message[0] = if advert.client.is_ipv4() { 0 } else { 129 };
    message
}
