//! The program that the kernel runs over its sockets so that only those at virtual addresses are listed
//! (`INET_DIAG_REQ_BYTECODE`, `linux/inet_diag.h`).
//!
//! Operations of four bytes: a code, how far to go on if true (`yes`), how far if not (`no`). A condition on an address is
//! followed by family, prefix length, port (-1: any) and the address. To end exactly behind the program accepts, to end four
//! bytes further refuses. "One of these" is then: condition, jump to the end, condition, jump to the end, … condition.

use ipnet::IpNet;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use slr_model::VirtualSubnet;

/// `INET_DIAG_REQ_BYTECODE`, the attribute that carries the program.
const ATTRIBUTE: u16 = 1;
/// `INET_DIAG_BC_JMP`: goes on at `no`, always; the kernel's check of the program follows `yes`.
const JUMP: u8 = 1;
/// `INET_DIAG_BC_S_COND`: compares the local address.
const LOCAL_ADDRESS: u8 = 7;
const OPERATION_LEN: usize = 4;

/// The attribute with the program for these subnets. It finds IPv4 subnets in IPv4-mapped sockets as well.
///
/// The lengths fit their fields: 1,024 subnets, as many as a host may serve, make 32 KiB.
pub fn attribute(subnets: &[VirtualSubnet]) -> Vec<u8> {
    let mut program = Vec::new();
    // From the last one to the first: a jump to the end needs to know how much comes behind it.
    for subnet in subnets.iter().rev() {
        let mut piece = condition(subnet);
        if !program.is_empty() {
            piece.extend(operation(JUMP, OPERATION_LEN, OPERATION_LEN + program.len()));
        }
        program.splice(0..0, piece);
    }
    let mut attribute = Vec::from(length(OPERATION_LEN + program.len()));
    attribute.extend(ATTRIBUTE.to_ne_bytes());
    attribute.extend(program);
    attribute
}

/// True goes on behind the condition; false skips the jump there as well, or, of the last one, ends past the end.
fn condition(subnet: &VirtualSubnet) -> Vec<u8> {
    let (family, address) = match subnet.net() {
        IpNet::V4(net) => (AF_INET, net.network().octets().to_vec()),
        IpNet::V6(net) => (AF_INET6, net.network().octets().to_vec()),
    };
    let len = OPERATION_LEN + 8 + address.len();
    let mut bytes = operation(LOCAL_ADDRESS, len, len + OPERATION_LEN);
    bytes.extend([family, subnet.prefix_len(), 0, 0]);
    bytes.extend((-1i32).to_ne_bytes());
    bytes.extend(address);
    bytes
}

fn operation(code: u8, yes: usize, no: usize) -> Vec<u8> {
    let mut bytes = vec![code, u8::try_from(yes).expect("an operation is short")];
    bytes.extend(length(no));
    bytes
}

fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).expect("a host's subnets make 32 KiB").to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &[u8], local: &[u8]) -> bool {
        let (mut at, mut steps) = (0, 0);
        while at < program.len() {
            let no = usize::from(u16::from_ne_bytes([program[at + 2], program[at + 3]]));
            let holds = program[at] == LOCAL_ADDRESS && {
                let bits = usize::from(program[at + 5]);
                let address = &program[at + 12..at + usize::from(program[at + 1])];
                address.len() == local.len()
                    && (0..bits).all(|bit| (address[bit / 8] ^ local[bit / 8]) & (0x80 >> (bit % 8)) == 0)
            };
            at += if holds { usize::from(program[at + 1]) } else { no };
            steps += 1;
            assert!(steps < 10_000, "the program ends");
        }
        at == program.len()
    }

    #[test]
    fn the_program_accepts_addresses_of_every_subnet_and_no_others() {
        let texts = ["192.0.2.0/24", "2001:db8:100::/48", "198.51.100.128/25"];
        for len in 1..=texts.len() {
            let subnets: Vec<VirtualSubnet> = texts[..len].iter().map(|text| text.parse().unwrap()).collect();
            let attribute = attribute(&subnets);
            assert_eq!(usize::from(u16::from_ne_bytes([attribute[0], attribute[1]])), attribute.len());
            for address in ["192.0.2.7", "192.0.3.7", "2001:db8:100:9::1", "2001:db8:101::1", "198.51.100.129", "::"] {
                let address: std::net::IpAddr = address.parse().unwrap();
                let octets = match address {
                    std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                    std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
                };
                let expected = subnets.iter().any(|subnet| subnet.contains(address));
                assert_eq!(run(&attribute[OPERATION_LEN..], &octets), expected, "{address} in {:?}", &texts[..len]);
            }
        }
    }
}
