//! What hosts say of their flows by way of their clients (docs/wire.md, "The augmented echo"). The program has found it well formed,
//! authentic and new; what is left to judge is whether the host is there and may have the flows, and whether another one has them.

use std::net::IpAddr;

use anyhow::{Context, Result};
use slr_dataplane::router::{AdvertReader, Router};
use slr_model::{FlowKey, Identity, NodeName, ServiceKey};
use slr_session::registry::ServiceState;
use slr_wire::FlowAdvert;
use tokio::io::unix::AsyncFd;

use super::Daemon;
use crate::recovery::{self, Rights};
use crate::tunnel::{FINAL, Label, Sender};

/// Clients' answers as they come out of the program.
pub struct Adverts {
    reader: AsyncFd<AdvertReader>,
    sender: Sender,
    counts: recovery::Adverts,
}

impl Adverts {
    /// Reads what the program takes.
    pub fn start(plane: &Router) -> Result<Self> {
        let reader = plane.advert_reader().context("read answers to augmented echoes")?;
        #[expect(
            deprecated,
            reason = "the other constructor is unsafe; the reader's descriptor is its own and never changes"
        )]
        let reader = AsyncFd::new(reader).context("wait for answers to augmented echoes")?;
        let sender = Sender::open().context("cannot open a raw socket for clients' answers; it needs CAP_NET_RAW")?;
        Ok(Self { reader, sender, counts: recovery::Adverts::default() })
    }

    /// What became of the flows that were told of.
    pub fn counts(&self) -> &recovery::Adverts {
        &self.counts
    }

    /// The next answers. May be cancelled: nothing is taken before it returns.
    pub async fn next(&mut self) -> Vec<Vec<u8>> {
        loop {
            let why = match self.reader.readable_mut().await {
                Ok(mut ready) => match ready.get_inner_mut().take() {
                    Ok(datagrams) if datagrams.is_empty() => {
                        ready.clear_ready();
                        continue;
                    }
                    Ok(datagrams) => return datagrams,
                    Err(error) => {
                        ready.clear_ready();
                        error.to_string()
                    }
                },
                Err(error) => error.to_string(),
            };
            // Hosts tell again, and wake us again.
            tracing::warn!("answers to augmented echoes are not read: {why}");
        }
    }
}

/// The host that an advertisement is of.
struct Teller {
    identity: Identity,
    /// Its services, and whether each is down there.
    services: Vec<(ServiceKey, bool)>,
    /// Where its hop leads to.
    address: IpAddr,
}

/// The advertisement in a datagram, which the program has parsed already: an IP header without options, and an ICMP message.
fn advert_of(datagram: &[u8]) -> Option<FlowAdvert> {
    let (is_ipv4, header) = match datagram.first()? >> 4 {
        4 => (true, 20),
        _ => (false, 40),
    };
    FlowAdvert::decode(FlowAdvert::in_reply(datagram.get(header..)?, is_ipv4)?).ok()
}

impl Daemon {
    /// Pins the flows that clients' answers tell of, and sends the answers on to the hosts that have them.
    pub(super) fn take_adverts(&mut self, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            match advert_of(datagram) {
                Some(advert) => self.take_advert(&advert, datagram),
                None => self.adverts.counts.malformed += 1,
            }
        }
    }

    fn take_advert(&mut self, advert: &FlowAdvert, datagram: &[u8]) {
        let flows: Vec<FlowKey> = advert.flow_keys().collect();
        let Some(Teller { identity, services, address }) = self.teller(&advert.node, advert.server) else {
            self.adverts.counts.unknown_host += flows.len() as u64;
            tracing::debug!(host = %advert.node, server = %advert.server, "tells of flows, and is no host here");
            return;
        };
        let counts = &mut self.adverts.counts;
        let flows = Rights::new(&identity, services.into_iter()).filter(flows, &mut counts.claims);
        let mut pinned = Vec::new();
        match self.core.plane().claim_each(&advert.node, &flows, |flow| pinned.push(*flow)) {
            Ok(done) => {
                counts.claims.data_plane.add(&done);
                self.mirrors.claimed(&advert.node, &pinned, std::time::Instant::now());
                tracing::debug!(host = %advert.node, ?done, "flows were told of by way of their client");
                if done.pinned + done.known > 0 {
                    self.send_on(address, datagram, advert);
                    pinned.iter().for_each(|flow| self.told(flow, address));
                }
            }
            Err(error) => tracing::warn!(host = %advert.node, "flows that were told of are not pinned: {error}"),
        }
    }

    /// The host of that name, if it is one here, is reached, and takes tunnels at that address.
    fn teller(&self, name: &NodeName, server: IpAddr) -> Option<Teller> {
        let host = self.core.fleet().registry().host(name.as_str())?;
        let address = self.core.plane().address_of(name)?;
        if !host.tunnels().contains(&server) {
            return None;
        }
        let services = host.services().map(|service| (*service.key(), service.state() == ServiceState::Down));
        Some(Teller { identity: host.identity()?.clone(), services: services.collect(), address })
    }

    /// The host learns from it that it was heard. Marked, so that nobody searches for what it is.
    fn send_on(&mut self, to: IpAddr, datagram: &[u8], advert: &FlowAdvert) {
        let sources = self.core.in_force().map(|loaded| loaded.settings.sources.as_slice()).unwrap_or_default();
        let entropy = advert.flows.first().map_or(0, |flow| flow.0);
        match self.adverts.sender.send(sources, to, datagram, Label { entropy, mark: FINAL }) {
            Ok(()) => self.adverts.counts.sent_on += 1,
            Err(error) => tracing::debug!(host = %advert.node, "a client's answer is not sent on: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use slr_model::{KeyMask, Protocol};
    use slr_testkit::packet::pkt;
    use slr_wire::FlowSecret;

    use super::*;

    #[test]
    fn an_answer_is_read_out_of_its_datagram() {
        for (client, virtual_address) in [("198.51.100.7", "192.0.2.9"), ("2001:db8::7", "2001:db8:1::9")] {
            let advert = FlowAdvert {
                client: client.parse().unwrap(),
                virtual_address: virtual_address.parse().unwrap(),
                prefix_len: 24,
                server: "10.1.11.2".parse().unwrap(),
                node: "h1".parse().unwrap(),
                epoch: 7,
                serial: 1,
                mask: KeyMask::ALL,
                flows: vec![(40_000, 80, Protocol::Tcp)],
            };
            let key = advert.key(&FlowSecret::new([1; FlowSecret::LEN]).master(7));
            let mut message = advert.echo_request(&key, 1, 2).unwrap();
            let (reply, next) = if advert.client.is_ipv4() { (0, 1) } else { (129, 58) };
            message[0] = reply;
            let datagram = pkt().ip(advert.client, advert.virtual_address).next(next).payload(message).build();
            assert_eq!(advert_of(&datagram), Some(advert));
            assert_eq!(advert_of(&datagram[..datagram.len() - 1]), None);
        }
        assert_eq!(advert_of(&[]), None);
    }
}
