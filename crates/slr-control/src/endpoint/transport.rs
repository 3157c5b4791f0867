//! QUIC's parameters: what a connection may hold, and how long it may be silent.

use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig, VarInt};

/// A connection of which nothing is heard for this long is over.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Something is sent at least this often, so that three losses in a row do no harm. Adverts are more frequent.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Received and not yet read, of the one stream: a frame of the largest size and the one behind it.
const STREAM_WINDOW: u32 = 128 << 10;
/// Sent and not yet acknowledged.
const SEND_WINDOW: u64 = 256 << 10;
/// Datagrams that wait to be read, or to be sent: an advert of the largest node. Beyond it the oldest are dropped.
const DATAGRAMS: usize = 256 << 10;

/// Parameters for either end; only the end that dials opens the one stream.
pub(super) fn transport(accepts: bool) -> Arc<TransportConfig> {
    let mut acks = AckFrequencyConfig::default();
    // Acknowledged at once, while the connection's memory is in the caches, and not by a timer 25 ms later: packets are
    // far apart, and nothing would be saved by waiting for a second one.
    acks.ack_eliciting_threshold(VarInt::from_u32(0));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("ten seconds fit")))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(accepts.into()))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .datagram_send_buffer_size(DATAGRAMS)
        // Nothing is larger than 1,200 bytes, which every path carries: there is nothing to discover.
        .mtu_discovery_config(None)
        .ack_frequency_config(Some(acks))
        .allow_spin(false);
    Arc::new(transport)
}
