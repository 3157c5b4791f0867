//! Stateless resets (RFC 9000 §10.3) that a killed daemon's successor can send.
//!
//! A node whose SLR was killed goes on sending adverts on a connection that nobody knows any more. The successor answers
//! with a reset that only the holder of the key could make, and the node connects anew within a round trip instead of
//! after the idle timeout. So the key comes from the node's private key, which outlives the process, and not from chance.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};
use quinn::EndpointConfig;
use quinn::crypto::HmacKey;
use quinn_proto::HashedConnectionIdGenerator;

/// What a node's resets are made with.
#[derive(Clone)]
pub struct ResetKey {
    tokens: Arc<dyn HmacKey>,
    connection_ids: u64,
}

impl ResetKey {
    /// From a private key (DER).
    pub fn of(private_key: &[u8]) -> Self {
        let secret = Key::new(HMAC_SHA256, private_key);
        let derive = |label: &str| -> Tag { sign(&secret, label.as_bytes()) };
        let tokens = Arc::new(Key::new(HMAC_SHA256, derive("slr stateless reset").as_ref()));
        let ids = derive("slr connection ids");
        let first = ids.as_ref().first_chunk().expect("a tag has 32 bytes");
        Self { tokens, connection_ids: u64::from_be_bytes(*first) }
    }

    /// QUIC's settings for a socket of this node.
    pub fn endpoint_config(&self) -> EndpointConfig {
        let key = self.connection_ids;
        let mut config = EndpointConfig::new(self.tokens.clone());
        config
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)))
            // A thousand nodes are told in the second in which they send. Noise draws nothing: its connection ids are not of
            // this key; and a reset is smaller than what it answers.
            .min_reset_interval(Duration::ZERO);
        config
    }
}
