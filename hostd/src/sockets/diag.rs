//! Asking: one dump per family over a netlink socket of its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_core::{
    Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, TCP_CLOSE, TCP_ESTABLISHED, TCP_FIN_WAIT2, TCP_LISTEN, TCP_SYN_RECV,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use slr_model::{FlowKey, Protocol, TracedSocket, VirtualSubnet};
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

/// Who gets the packets of a flow, as the kernel's own look-up finds it: one question, one answer, however many sockets there are.
pub fn owner(flow: &FlowKey) -> Result<TracedSocket, SurveyError> {
    let protocol = flow.protocol();
    let (local, remote) = (flow.virtual_host(), flow.client());
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut socket_id = if local.is_ipv4() { SocketId::new_v4() } else { SocketId::new_v6() };
    // Of one UDP socket the kernel asks with the ends exchanged ("for historical reasons", net/ipv4/udp_diag.c).
    let (source, destination) = if protocol == Protocol::Udp { (remote, local) } else { (local, remote) };
    (socket_id.source_address, socket_id.source_port) = (source.ip(), source.port());
    (socket_id.destination_address, socket_id.destination_port) = (destination.ip(), destination.port());
    socket_id.cookie = ANY_COOKIE;
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: protocol.number(),
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id,
    };
    let question = Question { request, filter: Vec::new() };
    socket.send(&question.bytes_for(NLM_F_REQUEST), 0)?;
    let mut buffer = vec![0; ANSWER_LEN_MAX];
    let len = socket.recv(&mut &mut buffer[..], 0)?;
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(&buffer[..len.min(ANSWER_LEN_MAX)])
        .map_err(|error| SurveyError::Answer(error.to_string()))?;
    match message.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
            Ok(of_state(protocol, response.header.state))
        }
        NetlinkPayload::Error(error) => match error.code.map_or(0, std::num::NonZero::get) {
            code if -code == libc::ENOENT => Ok(TracedSocket::Nobody),
            code => Err(refused(protocol, code)),
        },
        other => Err(SurveyError::Answer(format!("{other:?}"))),
    }
}

/// `INET_DIAG_NOCOOKIE`: whichever socket it is.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// What a socket in this state is to the flow. UDP: "established" is connected, "close" is bound.
fn of_state(protocol: Protocol, state: u8) -> TracedSocket {
    match (protocol, state) {
        (_, TCP_ESTABLISHED) | (Protocol::Tcp, TCP_SYN_RECV) => TracedSocket::Connected,
        (Protocol::Tcp, TCP_LISTEN) | (Protocol::Udp, TCP_CLOSE) => TracedSocket::Listening,
        _ => TracedSocket::Closing,
    }
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
        self.bytes_for(NLM_F_REQUEST | NLM_F_DUMP)
    }

    fn bytes_for(self, flags: u16) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
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
