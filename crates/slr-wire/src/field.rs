//! Fields of messages: how each kind of value is checked and written.

use std::net::IpAddr;

use ipnet::IpNet;
use slr_model::{Loads, NodeName};

use crate::{DecodeError, bounds, proto};

/// Field names are message.field, as in `proto/slr.proto`.
pub(crate) type Field = &'static str;

pub(crate) fn invalid(field: Field, why: impl ToString) -> DecodeError {
    DecodeError::Invalid { field, why: why.to_string() }
}

pub(crate) fn required<T>(field: Field, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing { field })
}

pub(crate) fn at_most(field: Field, found: usize, max: usize) -> Result<(), DecodeError> {
    if found > max { Err(DecodeError::TooMany { field, found, max }) } else { Ok(()) }
}

pub(crate) fn number_within(field: Field, found: u32, min: u32, max: u32) -> Result<u32, DecodeError> {
    if (min..=max).contains(&found) { Ok(found) } else { Err(invalid(field, format!("{found} is not {min} to {max}"))) }
}

pub(crate) fn not_zero(field: Field, found: u64) -> Result<u64, DecodeError> {
    if found == 0 { Err(invalid(field, "0 is no number of it")) } else { Ok(found) }
}

/// A text for people. It ends up on terminals and in logs, so it must not hold what moves a cursor.
pub(crate) fn text(field: Field, found: String, max: usize) -> Result<String, DecodeError> {
    if found.len() > max {
        return Err(invalid(field, format!("{} bytes, at most {max}", found.len())));
    }
    if found.chars().any(char::is_control) {
        return Err(invalid(field, "it has control characters"));
    }
    Ok(found)
}

/// A text as [`text`] takes it: control characters become spaces, what exceeds the bound is cut between characters.
pub(crate) fn fit(given: &str, max: usize) -> String {
    let mut fitted = String::with_capacity(given.len().min(max));
    for character in given.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if fitted.len() + character.len_utf8() > max {
            break;
        }
        fitted.push(character);
    }
    fitted
}

pub(crate) fn node_name(field: Field, found: &str) -> Result<NodeName, DecodeError> {
    // The length first: the error of a name quotes it.
    if found.len() > NodeName::MAX_LEN {
        return Err(invalid(field, format!("a name of {} bytes, at most {}", found.len(), NodeName::MAX_LEN)));
    }
    found.parse().map_err(|error| invalid(field, error))
}

pub(crate) fn address(field: Field, found: &[u8]) -> Result<IpAddr, DecodeError> {
    if let Ok(v4) = <[u8; 4]>::try_from(found) {
        Ok(v4.into())
    } else if let Ok(v6) = <[u8; 16]>::try_from(found) {
        Ok(v6.into())
    } else {
        Err(invalid(field, format!("an address of {} bytes, not 4 or 16", found.len())))
    }
}

pub(crate) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Addresses at which a node takes tunnels: at most one of each family, of one node alone.
pub(crate) fn tunnel_addresses(field: Field, found: &[Vec<u8>]) -> Result<Vec<IpAddr>, DecodeError> {
    at_most(field, found.len(), bounds::TUNNEL_ADDRESSES_MAX)?;
    let addresses = found.iter().map(|bytes| address(field, bytes)).collect::<Result<Vec<_>, _>>()?;
    if let Some(bad) = addresses.iter().find(|a| a.is_unspecified() || a.is_multicast() || a.is_loopback()) {
        return Err(invalid(field, format!("{bad} is no one node's address")));
    }
    if let [first, second] = addresses[..]
        && first.is_ipv4() == second.is_ipv4()
    {
        return Err(DecodeError::Duplicate { field, what: "a family".into() });
    }
    Ok(addresses)
}

pub(crate) fn prefix(field: Field, found: &proto::Prefix) -> Result<IpNet, DecodeError> {
    let address = address(field, &found.address)?;
    let length =
        u8::try_from(found.length).map_err(|_| invalid(field, format!("a length of {} bits", found.length)))?;
    let net = IpNet::new(address, length).map_err(|_| invalid(field, format!("{address} has no /{length}")))?;
    if net.trunc() == net { Ok(net) } else { Err(invalid(field, format!("{net} has bits set behind its prefix"))) }
}

pub(crate) fn prefix_bytes(net: IpNet) -> proto::Prefix {
    proto::Prefix { address: address_bytes(net.addr()), length: net.prefix_len().into() }
}

pub(crate) fn tunnel_sources(field: Field, found: &[proto::Prefix]) -> Result<Vec<IpNet>, DecodeError> {
    at_most(field, found.len(), bounds::TUNNEL_SOURCES_MAX)?;
    found.iter().map(|one| prefix(field, one)).collect()
}

pub(crate) fn loads(field: Field, found: Vec<proto::Load>) -> Result<Loads, DecodeError> {
    at_most(field, found.len(), Loads::MAX)?;
    let mut loads = Loads::new();
    for load in found {
        let name = load.name.parse().map_err(|_| invalid(field, "a name that no load value can have"))?;
        if loads.get(&load.name).is_some() {
            return Err(DecodeError::Duplicate { field, what: load.name });
        }
        loads.set(name, load.value).map_err(|error| invalid(field, error))?;
    }
    Ok(loads)
}

pub(crate) fn loads_bytes(loads: &Loads) -> Vec<proto::Load> {
    loads.iter().map(|(name, value)| proto::Load { name: name.to_string(), value }).collect()
}

/// Part of how many: both within the bound, the part among them.
pub(crate) fn part(field: Field, part: u32, parts: u32, max: u16) -> Result<(u16, u16), DecodeError> {
    match (u16::try_from(part), u16::try_from(parts)) {
        (Ok(part), Ok(parts)) if part < parts && parts <= max => Ok((part, parts)),
        _ => Err(invalid(field, format!("part {part} of {parts}, at most {max}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fit_returns_text_takes() {
        for (given, fitted) in [("plain", "plain"), ("a\nb\u{1b}[2J", "a b [2J"), ("äöü", "äö"), ("", "")] {
            let cut = fit(given, if given == "äöü" { 5 } else { 160 });
            assert_eq!(cut, fitted);
            assert_eq!(text("f", cut.clone(), 160), Ok(cut));
        }
        assert!(text("f", "a\u{85}b".into(), 160).is_err() && text("f", "abc".into(), 2).is_err());
    }
}
