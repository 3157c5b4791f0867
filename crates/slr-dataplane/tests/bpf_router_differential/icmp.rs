//! The model's ICMP: errors about replies and about our own tunnels, echo requests.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::Subnet;
use slr_model::EchoPolicy;

use crate::emit;
use crate::model::{Flow, Model, Packet, Path, flow_of, is_martian, source_for};
use crate::parse::{self, Datagram, Fragment, IN_IP, TCP, UDP};
use crate::routing;

impl Model {
    /// The reason to forward or answer by, with the path if it is forwarded; or the reason to stop.
    pub fn icmp(&mut self, packet: &Packet) -> Result<(R, Option<Path>), R> {
        let (frame, datagram) = (&packet.frame, &packet.datagram);
        let v6 = datagram.source.is_ipv6();
        let subnet = self.subnet(datagram.destination).cloned();
        let ours = |reason| if subnet.is_some() { reason } else { R::PassNotOurs };
        if datagram.protocol != if v6 { 58 } else { 1 } {
            return Err(match &subnet {
                Some(subnet) if subnet.listed_only => self.leave_to_kernel(datagram, subnet),
                _ => ours(R::DropProtocol),
            });
        }
        let header = frame[datagram.l4..datagram.l3 + datagram.len].get(..8).ok_or(ours(R::DropTruncatedL4))?;
        let (echo, errors) = if v6 { (128, [1, 2, 3, 4]) } else { (8, [3, 3, 11, 12]) };
        let quote = if errors.contains(&header[0]) { Some(parse::quote(frame, datagram)) } else { None };
        if let Some(Some(quote)) = &quote
            && quote.source == datagram.destination
            && self.is_our_header(quote)
        {
            return Err(self.tunnel_error(header, quote));
        }
        let subnet = subnet.ok_or(R::PassNotOurs)?;
        if header[0] == echo {
            return self.echo(datagram, &subnet);
        }
        let quote = quote.ok_or(R::DropIcmpType)?.ok_or(R::DropIcmpQuote)?;
        let ports = quote.ports.filter(|_| quote.source == datagram.destination).ok_or(R::DropIcmpQuote)?;
        if quote.protocol != TCP && quote.protocol != UDP {
            return Err(R::DropIcmpQuote);
        }
        let (client, to) = ((quote.destination, ports.1).into(), (quote.source, ports.0).into());
        let flow = Flow { client, to, protocol: quote.protocol };
        let pinned = self.alive(self.pinned.get(&flow).copied());
        let known = pinned.or_else(|| self.alive(self.pending.get(&flow).map(|(path, _)| *path)));
        if known.is_none() && !routing::serves(&subnet, &flow) {
            return Err(self.leave_to_kernel(datagram, &subnet));
        }
        let path = known.map_or_else(|| self.place(&subnet, &flow), Ok)?;
        Ok((R::FwdIcmpError, Some(path)))
    }

    fn echo(&self, datagram: &Datagram, subnet: &Subnet) -> Result<(R, Option<Path>), R> {
        match subnet.echo {
            _ if is_martian(datagram.source) => Err(R::DropMartian),
            EchoPolicy::Forward => {
                let flow = flow_of(datagram, (0, 0));
                Ok((R::FwdEcho, Some(self.place(subnet, &flow)?)))
            }
            EchoPolicy::Answer if datagram.fragment == Fragment::No => Ok((R::ReplyEcho, None)),
            _ => Err(R::DropEcho),
        }
    }

    fn is_our_header(&self, quote: &parse::Quote) -> bool {
        let hop = self.hops.get(&quote.destination).filter(|hop| hop.host.link.is_some());
        let hop = hop.filter(|_| IN_IP.contains(&quote.protocol));
        let source = hop.and_then(|hop| source_for(hop.host.address, &self.desired));
        source.is_some_and(|net| emit::is_spread(net, quote.source))
    }

    /// An error about a header that we wrote, or that somebody wants us to believe we wrote.
    fn tunnel_error(&mut self, header: &[u8], quote: &parse::Quote) -> R {
        let v6 = quote.source.is_ipv6();
        let floor = usize::from(self.desired.config.pmtu_floor).max(if v6 { 1280 } else { 0 });
        let hop = self.hops.get_mut(&quote.destination).expect("the caller looked");
        let about_size = if v6 { header[0] == 2 } else { header[..2] == [3, 4] };
        if !about_size {
            return R::PassTunnelError;
        }
        let mtu = if v6 { parse::long(header, 4) as usize } else { parse::word(header, 6).into() };
        let now = usize::from(hop.mtu);
        let link = usize::from(hop.link_mtu);
        if mtu == now && now < link && quote.len > mtu && quote.len <= link {
            return R::DropPmtuKnown;
        }
        if mtu < floor || mtu >= now || quote.len <= mtu || quote.len > now {
            return R::DropPmtuRefused;
        }
        hop.mtu = u16::try_from(mtu).expect("lower than one");
        R::DropPmtuLearned
    }
}
