//! The UDP echo service: each datagram is answered by the prefix of [`crate::wire`] and the datagram itself.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::AsRawFd,
    rc::Rc,
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use tokio::{io::Interest, net::UdpSocket};

use super::Shared;
use crate::wire;

/// Largest datagram taken.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Address, out of those of this machine, that a datagram was sent to.
#[derive(Clone, Copy)]
enum Asked {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// Answers datagrams for ever. What cannot be sent is dropped, as UDP drops.
pub async fn serve(socket: UdpSocket, shared: Rc<Shared>, naive: bool) {
    let mut input = vec![0; MAX_DATAGRAM_BYTES];
    let mut output = Vec::with_capacity(MAX_DATAGRAM_BYTES);
    loop {
        let received = match naive {
            true => socket.recv_from(&mut input).await.map(|(length, peer)| (length, Some(peer), None)),
            false => receive_asked(&socket, &mut input).await,
        };
        // An error here is an earlier answer's, brought back by ICMP: it concerns that client only.
        let Ok((length, Some(peer), asked)) = received else { continue };
        output.clear();
        wire::write_prefix(&mut output, shared.identity.text(), 0, 0);
        output.extend_from_slice(&input[..length]);
        let _ = match asked {
            None => socket.send_to(&output, peer).await.map(|_| ()),
            Some(asked) => send_from(&socket, &output, peer, asked).await,
        };
    }
}

/// `recvmsg` with the address asked. The peer is `None` when the kernel named none.
async fn receive_asked(socket: &UdpSocket, input: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>, Option<Asked>)> {
    socket
        .async_io(Interest::READABLE, || {
            let mut slices = [IoSliceMut::new(input)];
            let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
            let message = recvmsg::<SockaddrStorage>(
                socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT,
            )?;
            let peer = message.address.as_ref().and_then(to_socket_addr);
            let asked = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(info)),
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(Asked::V6(info)),
                _ => None,
            });
            Ok((message.bytes, peer, asked))
        })
        .await
}

/// `sendmsg` with the address asked as source. The interface is left to routing: the answer's way out need not be the
/// way in.
async fn send_from(socket: &UdpSocket, output: &[u8], peer: SocketAddr, asked: Asked) -> io::Result<()> {
    let peer = SockaddrStorage::from(peer);
    socket
        .async_io(Interest::WRITABLE, || {
            let slices = [IoSlice::new(output)];
            let descriptor = socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            match asked {
                Asked::V4(info) => {
                    let info =
                        libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ipi_addr: info.ipi_addr };
                    sendmsg(descriptor, &slices, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&peer))?;
                }
                Asked::V6(info) => {
                    let info = libc::in6_pktinfo { ipi6_ifindex: link_scope(&info), ..info };
                    sendmsg(descriptor, &slices, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&peer))?;
                }
            }
            Ok(())
        })
        .await
}

/// A link-local address means something on one interface only, so there the interface has to stay.
fn link_scope(info: &libc::in6_pktinfo) -> u32 {
    let address = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr);
    if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 }
}

fn to_socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}
