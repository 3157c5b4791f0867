//! Asking: one dump per family over a netlink socket of its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_core::{
    Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, TCP_FIN_WAIT2};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use slr_model::{Protocol, VirtualSubnet};
use socket2::SockRef;

use super::{Connection, SurveyError, filter};

/// The kernel answers at once; a longer silence is an answer that was lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel fills at most this much at a time (`NLMSG_GOODSIZE` and its doublings end at 32 KiB).
const ANSWER_LEN_MAX: usize = 64 << 10;

/// Calls `found` for each socket of the protocol that serves a client at an address of `subnets`.
pub fn connections(
    protocol: Protocol,
    subnets: &[VirtualSubnet],
    mut found: impl FnMut(Connection),
) -> Result<(), SurveyError> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: protocol.number(),
            extensions: ExtensionFlags::empty(),
            states: states(protocol),
            socket_id,
        };
        socket.send(&Question { request, filter: filter::attribute(subnets) }.bytes(), 0)?;
        receive(&socket, protocol, &mut found)?;
    }
    Ok(())
}

/// States in which a client needs this host; FIN_WAIT2 is looked at again. A connected UDP socket is "established".
fn states(protocol: Protocol) -> StateFlags {
    match protocol {
        Protocol::Tcp => {
            StateFlags::SYN_RECV
                | StateFlags::ESTABLISHED
                | StateFlags::FIN_WAIT1
                | StateFlags::FIN_WAIT2
                | StateFlags::CLOSE_WAIT
                | StateFlags::LAST_ACK
                | StateFlags::CLOSING
        }
        Protocol::Udp => StateFlags::ESTABLISHED,
    }
}

fn receive(socket: &Socket, protocol: Protocol, found: &mut impl FnMut(Connection)) -> Result<(), SurveyError> {
    let mut buffer = vec![0; ANSWER_LEN_MAX];
    loop {
        let len = socket.recv(&mut &mut buffer[..], 0)?;
        let mut rest = &buffer[..len.min(ANSWER_LEN_MAX)];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| SurveyError::Answer(error.to_string()))?;
            match message.payload {
                NetlinkPayload::Done(done) if done.code == 0 => return Ok(()),
                NetlinkPayload::Done(done) => return Err(refused(protocol, done.code)),
                NetlinkPayload::Error(error) => {
                    return Err(refused(protocol, error.code.map_or(0, std::num::NonZero::get)));
                }
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    if let Some(connection) = serving(&response.header) {
                        found(connection);
                    }
                }
                _ => {}
            }
            // Messages are padded to four bytes.
            let step = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(step..).unwrap_or_default();
        }
    }
}

fn refused(protocol: Protocol, code: i32) -> SurveyError {
    SurveyError::Refused { protocol, source: io::Error::from_raw_os_error(code.saturating_abs()) }
}

/// The connection, unless nothing more can come of it for the client.
fn serving(header: &InetResponseHeader) -> Option<Connection> {
    // The program has closed it and all it said is acknowledged: what waits for the client's FIN is the kernel alone.
    if header.state == TCP_FIN_WAIT2 && header.inode == 0 {
        return None;
    }
    let id = &header.socket_id;
    let local = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
    let remote: IpAddr = id.destination_address.to_canonical();
    Some(Connection { local, remote })
}

/// A request with an attribute behind it, which the library's own request has no place for.
struct Question {
    request: InetRequest,
    filter: Vec<u8>,
}

impl Question {
    fn bytes(self) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(self));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }
}

impl NetlinkSerializable for Question {
    fn message_type(&self) -> u16 {
        SockDiagMessage::InetRequest(self.request.clone()).message_type()
    }

    fn buffer_len(&self) -> usize {
        self.request.buffer_len() + self.filter.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (request, filter) = buffer.split_at_mut(self.request.buffer_len());
        self.request.emit(request);
        filter.copy_from_slice(&self.filter);
    }
}
