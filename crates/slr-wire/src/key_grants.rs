//! Routers grant hosts keys for the augmented echo, and tell each other the epoch that these are of.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::field::{address, address_bytes, at_most, invalid, not_zero, prefix, prefix_bytes, required};
use crate::flow_keys::{AdvertKey, KEY_LEN};
use crate::{DecodeError, bounds, proto};

/// A host's keys of one epoch. At most [`bounds::FLOW_KEYS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowKeys {
    /// Never 0.
    pub epoch: u32,
    /// One for each of the host's virtual subnets and tunnel addresses.
    pub keys: Vec<FlowKeyGrant>,
}

/// The key with which a host may say that it has flows of a subnet, at one of its tunnel addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct FlowKeyGrant {
    /// The virtual subnet.
    pub subnet: IpNet,
    /// The tunnel address.
    pub server: IpAddr,
    /// An [`AdvertKey`]'s bytes: a secret, which is not shown.
    pub key: [u8; KEY_LEN],
}

/// The greatest epoch that a router knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEpoch {
    /// Never 0.
    pub epoch: u32,
}

impl FlowKeyGrant {
    /// The key, to sign with.
    pub const fn key(&self) -> AdvertKey {
        AdvertKey::new(self.key)
    }
}

impl fmt::Debug for FlowKeyGrant {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "FlowKeyGrant({} at {})", self.subnet, self.server)
    }
}

impl FlowKeys {
    pub(crate) fn read(found: proto::FlowKeys) -> Result<Self, DecodeError> {
        let field = "flow_keys.grants";
        at_most(field, found.grants.len(), bounds::FLOW_KEYS_MAX)?;
        let read = |grant: proto::flow_keys::Grant| {
            let subnet = required("flow_keys.grants.subnet", grant.subnet)?;
            let key = <[u8; KEY_LEN]>::try_from(grant.key)
                .map_err(|key| invalid("flow_keys.grants.key", format!("{} bytes, not {KEY_LEN}", key.len())))?;
            Ok(FlowKeyGrant {
                subnet: prefix("flow_keys.grants.subnet", &subnet)?,
                server: address("flow_keys.grants.server", &grant.server)?,
                key,
            })
        };
        let keys = found.grants.into_iter().map(read).collect::<Result<Vec<_>, DecodeError>>()?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = keys.iter().find(|grant| !seen.insert((grant.subnet, grant.server))) {
            return Err(DecodeError::Duplicate { field, what: format!("{} at {}", twice.subnet, twice.server) });
        }
        Ok(Self { epoch: epoch("flow_keys.epoch", found.epoch)?, keys })
    }

    pub(crate) fn write(&self) -> proto::FlowKeys {
        let grants = self.keys.iter().map(|grant| proto::flow_keys::Grant {
            subnet: Some(prefix_bytes(grant.subnet)),
            server: address_bytes(grant.server),
            key: grant.key.to_vec(),
        });
        proto::FlowKeys { epoch: self.epoch, grants: grants.collect() }
    }
}

impl FlowEpoch {
    pub(crate) fn read(found: proto::FlowEpoch) -> Result<Self, DecodeError> {
        Ok(Self { epoch: epoch("flow_epoch.epoch", found.epoch)? })
    }

    pub(crate) fn write(self) -> proto::FlowEpoch {
        proto::FlowEpoch { epoch: self.epoch }
    }
}

fn epoch(field: &'static str, found: u32) -> Result<u32, DecodeError> {
    not_zero(field, found.into()).map(|_| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn grant(number: usize) -> FlowKeyGrant {
        let server = std::net::Ipv6Addr::from((0xfd00 << 112) | (number as u128 + 1));
        FlowKeyGrant { subnet: "2001:db8:1::/48".parse().unwrap(), server: server.into(), key: [7; KEY_LEN] }
    }

    #[test]
    fn as_many_keys_as_a_host_can_need_fit_a_frame() {
        let keys = FlowKeys { epoch: 7, keys: (0..bounds::FLOW_KEYS_MAX).map(grant).collect() };
        let message = Message::FlowKeys(keys.clone());
        let frame = message.encode_frame().unwrap();
        assert_eq!(Message::decode(&frame[4..]), Ok(message));
        let more = FlowKeys { keys: (0..=bounds::FLOW_KEYS_MAX).map(grant).collect(), ..keys };
        assert_eq!(FlowKeys::read(more.write()).unwrap_err().reason(), "too_many");
    }

    #[test]
    fn what_grants_nothing_or_the_same_twice_is_refused() {
        let good = FlowKeys { epoch: 7, keys: vec![grant(0), grant(1)] }.write();
        assert!(FlowKeys::read(good.clone()).is_ok());
        let refused = |change: &dyn Fn(&mut proto::FlowKeys)| {
            let mut bad = good.clone();
            change(&mut bad);
            FlowKeys::read(bad).unwrap_err().reason()
        };
        assert_eq!(refused(&|keys| keys.epoch = 0), "invalid_value");
        assert_eq!(refused(&|keys| keys.grants[1] = keys.grants[0].clone()), "duplicate");
        assert_eq!(refused(&|keys| keys.grants[0].subnet = None), "missing_field");
        assert_eq!(refused(&|keys| keys.grants[0].key.push(0)), "invalid_value");
        assert_eq!(refused(&|keys| keys.grants[0].server.push(0)), "invalid_value");
        assert!(FlowEpoch::read(proto::FlowEpoch { epoch: 0 }).is_err());
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", grant(0)), "FlowKeyGrant(2001:db8:1::/48 at fd00::1)");
    }
}
