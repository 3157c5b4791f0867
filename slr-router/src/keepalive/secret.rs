//! What nobody outside can guess: nonces. And what nobody needs to guess: phases.

use std::net::IpAddr;

use slr_model::NodeName;

/// The key that nonces and phases are made with. Random at the edge, a constant in tests.
#[derive(Clone, Copy)]
pub struct Secret([u64; 2]);

impl Secret {
    /// From 128 random bits.
    pub fn new(bits: [u64; 2]) -> Self {
        Self(bits)
    }

    /// The nonce of the `number`th probe, of the target in `slot`. The slot stands in the lower 16 bits, so that an answer
    /// finds its target; the other 48 are SipHash of the number, which never comes twice. To pass a forged answer off, one
    /// has to guess them while the probe is on its way, and to know the probe's clock besides.
    pub fn nonce(&self, number: u64, slot: u16) -> u64 {
        self.hash(&[&number.to_be_bytes()]) << 16 | u64::from(slot)
    }

    /// The bits by which a probe's outer header differs from the last one's: path after path is tried.
    pub fn entropy(nonce: u64) -> u16 {
        (nonce >> 48) as u16
    }

    /// Where in the interval a target has its turn, 0 to `steps` - 1.
    pub fn phase(&self, name: &NodeName, address: IpAddr, steps: u64) -> u64 {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        self.hash(&[name.as_bytes(), &address.octets()]) % steps
    }

    #[expect(deprecated, reason = "the keyed SipHash-2-4 of std; its successor DefaultHasher takes no key")]
    fn hash(&self, parts: &[&[u8]]) -> u64 {
        use std::hash::Hasher;
        let mut hasher = std::hash::SipHasher::new_with_keys(self.0[0], self.0[1]);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}
