//! Keys of services in messages.

use std::num::NonZeroU16;

use slr_model::{Protocol, Service, ServiceKey, VirtualSubnet};

use crate::field::{Field, invalid, prefix, prefix_bytes, required};
use crate::{DecodeError, proto};

pub(crate) fn service_key(field: Field, found: Option<proto::ServiceKey>) -> Result<ServiceKey, DecodeError> {
    let found = required(field, found)?;
    let net = prefix(field, &required(field, found.subnet)?)?;
    let subnet = VirtualSubnet::new(net).map_err(|error| invalid(field, error))?;
    let service = match (found.protocol, found.port) {
        (0, 0) => None,
        (protocol, port) => {
            let wrong = || invalid(field, format!("protocol {protocol} with port {port} is no service"));
            let port = u16::try_from(port).ok().and_then(NonZeroU16::new).ok_or_else(wrong)?;
            let number = u8::try_from(protocol).map_err(|_| wrong())?;
            Some(Service { protocol: Protocol::from_number(number).ok_or_else(wrong)?, port })
        }
    };
    Ok(ServiceKey { subnet, service })
}

pub(crate) fn service_key_bytes(key: &ServiceKey) -> proto::ServiceKey {
    proto::ServiceKey {
        subnet: Some(prefix_bytes(key.subnet.net())),
        protocol: key.service.map_or(0, |service| service.protocol.number().into()),
        port: key.service.map_or(0, |service| service.port.get().into()),
    }
}
