//! A host tells its parents which of the flows that were searched for are its own.

use slr_model::FlowKey;

use crate::flows::{self, Packed};
use crate::{DecodeError, bounds, proto};

/// Flows that a router searched for and this host has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// At least one; IPv4 first.
    pub flows: Vec<FlowKey>,
}

impl Claims {
    /// Claims of any number of flows, as many datagrams as they take.
    pub fn split(flows: impl IntoIterator<Item = FlowKey>) -> Vec<Self> {
        let (mut all, mut len) = (Vec::<Self>::new(), usize::MAX);
        for flow in flows {
            let each = Packed::len_of(&flow);
            if len.saturating_add(each) > bounds::CLAIMS_LEN_MAX {
                all.push(Self::default());
                len = 0;
            }
            len += each;
            all.last_mut().expect("the first flow made one").flows.push(flow);
        }
        for claims in &mut all {
            claims.flows.sort_by_key(|flow| !flow.is_ipv4());
        }
        all
    }

    pub(crate) fn read(found: proto::Claims) -> Result<Self, DecodeError> {
        let field = "claims.flows";
        let len = found.flows_v4.len() + found.flows_v6.len();
        if len > bounds::CLAIMS_LEN_MAX {
            return Err(DecodeError::TooMany { field, found: len, max: bounds::CLAIMS_LEN_MAX });
        }
        if flows::count(field, &found.flows_v4, &found.flows_v6)? == 0 {
            return Err(DecodeError::Missing { field });
        }
        Ok(Self { flows: flows::read(field, &found.flows_v4, &found.flows_v6)? })
    }

    pub(crate) fn write(&self) -> proto::Claims {
        let mut packed = Packed::default();
        self.flows.iter().for_each(|flow| packed.push(flow));
        proto::Claims { flows_v4: packed.v4, flows_v6: packed.v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn flows(number: u16) -> Vec<FlowKey> {
        let text = |n: u16| match n % 2 {
            0 => format!("tcp 198.51.100.7:{} > 192.0.2.9:80", n + 1),
            _ => format!("udp [2001:db8::7]:{} > [2001:db8:1::9]:53", n + 1),
        };
        (0..number).map(|n| text(n).parse().unwrap()).collect()
    }

    #[test]
    fn any_number_of_flows_is_claimed_once_in_datagrams_that_fit() {
        for number in [0, 1, 2, 45, 46, 47, 1_000] {
            let mut found = Vec::new();
            for claims in Claims::split(flows(number)) {
                let bytes = Message::Claims(claims.clone()).encode_datagram().unwrap();
                assert!(Message::looks_like_claims(&bytes));
                assert_eq!(Message::decode(&bytes), Ok(Message::Claims(claims.clone())));
                found.extend(claims.flows);
            }
            found.sort();
            let mut expected = flows(number);
            expected.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_no_flow_is_refused() {
        let good = proto::Claims { flows_v4: vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 6], flows_v6: Vec::new() };
        assert!(Claims::read(good.clone()).is_ok());
        let refused = |change: &dyn Fn(&mut proto::Claims)| {
            let mut bad = good.clone();
            change(&mut bad);
            Claims::read(bad).unwrap_err().to_string()
        };
        assert!(refused(&|claims| claims.flows_v4.clear()).contains("claims.flows"));
        assert!(refused(&|claims| claims.flows_v4.push(0)).contains("no flows of 13 bytes"));
        assert!(refused(&|claims| claims.flows_v6 = vec![0; 36]).contains("no flows of 37 bytes"));
        assert!(refused(&|claims| claims.flows_v4[9] = 0).contains("port 0"));
        assert!(refused(&|claims| claims.flows_v4[11] = 0).contains("port 0"));
        assert!(refused(&|claims| claims.flows_v4[12] = 1).contains("neither TCP nor UDP"));
        assert!(refused(&|claims| claims.flows_v4 = claims.flows_v4.repeat(100)).contains("1300"));
        let mapped = |claims: &mut proto::Claims| {
            claims.flows_v6 = vec![0; 37];
            claims.flows_v6[10] = 0xff;
            claims.flows_v6[11] = 0xff;
        };
        assert!(refused(&mapped).contains("IPv4 address in an IPv6 flow"));
    }
}
