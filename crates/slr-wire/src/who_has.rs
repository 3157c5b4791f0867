//! A router asks its peers and neighbours who has flows that it does not know, and whose hosts it has not found.

use std::collections::{BTreeMap, BTreeSet};

use slr_model::{FlowKey, NodeName};

use crate::field::{at_most, node_name};
use crate::flows::{self, Packed};
use crate::{DecodeError, bounds, proto};

/// The question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhoHas {
    /// At least one; IPv4 first.
    pub flows: Vec<FlowKey>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Has {
    /// By host, at least one flow each, IPv4 first. `None`: the sender knows nobody who has them.
    pub hosts: BTreeMap<Option<NodeName>, Vec<FlowKey>>,
}

/// Parts of at most [`bounds::WHO_HAS_LEN_MAX`] bytes. `len_of`: what an item takes in the part that it is added to.
fn split<T, I>(items: impl IntoIterator<Item = I>, len_of: impl Fn(&T, &I) -> usize, add: impl Fn(&mut T, I)) -> Vec<T>
where
    T: Default,
{
    let (mut all, mut len) = (Vec::<T>::new(), 0);
    for item in items {
        if all.last().is_none_or(|part| len + len_of(part, &item) > bounds::WHO_HAS_LEN_MAX) {
            all.push(T::default());
            len = 0;
        }
        let part = all.last_mut().expect("the first item made one");
        len += len_of(part, &item);
        add(part, item);
    }
    all
}

impl WhoHas {
    /// Questions about any number of flows, as many datagrams as they take.
    pub fn split(flows: impl IntoIterator<Item = FlowKey>) -> Vec<Self> {
        let mut all = split(flows, |_: &Self, flow| Packed::len_of(flow), |part, flow| part.flows.push(flow));
        all.iter_mut().for_each(|part| part.flows.sort_by_key(|flow| !flow.is_ipv4()));
        all
    }

    pub(crate) fn read(found: proto::WhoHas) -> Result<Self, DecodeError> {
        let field = "who_has.flows";
        at_most(field, found.flows_v4.len() + found.flows_v6.len(), bounds::WHO_HAS_LEN_MAX)?;
        if flows::count(field, &found.flows_v4, &found.flows_v6)? == 0 {
            return Err(DecodeError::Missing { field });
        }
        Ok(Self { flows: flows::read(field, &found.flows_v4, &found.flows_v6)? })
    }

    pub(crate) fn write(&self) -> proto::WhoHas {
        let mut packed = Packed::default();
        self.flows.iter().for_each(|flow| packed.push(flow));
        proto::WhoHas { flows_v4: packed.v4, flows_v6: packed.v6 }
    }
}

/// Bytes of a name and of what protobuf puts around it and its flows.
fn name_len(host: Option<&NodeName>) -> usize {
    host.map_or(0, |name| name.len() + 2) + 9
}

impl Has {
    /// Answers about any number of flows, as many datagrams as they take.
    pub fn split(flows: impl IntoIterator<Item = (FlowKey, Option<NodeName>)>) -> Vec<Self> {
        let len_of = |part: &Self, (flow, host): &(FlowKey, Option<NodeName>)| {
            let name = if part.hosts.contains_key(host) { 0 } else { name_len(host.as_ref()) };
            Packed::len_of(flow) + name
        };
        let mut all = split(flows, len_of, |part, (flow, host)| part.hosts.entry(host).or_default().push(flow));
        let flows = all.iter_mut().flat_map(|part| part.hosts.values_mut());
        flows.for_each(|flows| flows.sort_by_key(|flow| !flow.is_ipv4()));
        all
    }

    pub(crate) fn read(found: proto::Has) -> Result<Self, DecodeError> {
        let (hosts, in_flows) = ("has.hosts", "has.hosts.flows");
        let len = found.hosts.iter().map(|of| of.host.len() + of.flows_v4.len() + of.flows_v6.len()).sum();
        at_most(hosts, len, bounds::WHO_HAS_LEN_MAX)?;
        let mut names = BTreeSet::new();
        for of in &found.hosts {
            if flows::count(in_flows, &of.flows_v4, &of.flows_v6)? == 0 {
                return Err(DecodeError::Missing { field: in_flows });
            }
            if !names.insert(&of.host) {
                return Err(DecodeError::Duplicate { field: hosts, what: of.host.clone() });
            }
        }
        if names.is_empty() {
            return Err(DecodeError::Missing { field: hosts });
        }
        let read = |of: &proto::has::HostFlows| {
            let host = (!of.host.is_empty()).then(|| node_name("has.hosts.host", &of.host)).transpose()?;
            Ok((host, flows::read(in_flows, &of.flows_v4, &of.flows_v6)?))
        };
        Ok(Self { hosts: found.hosts.iter().map(read).collect::<Result<_, DecodeError>>()? })
    }

    pub(crate) fn write(&self) -> proto::Has {
        let hosts = self.hosts.iter().map(|(host, flows)| {
            let mut packed = Packed::default();
            flows.iter().for_each(|flow| packed.push(flow));
            let host = host.as_ref().map(ToString::to_string).unwrap_or_default();
            proto::has::HostFlows { host, flows_v4: packed.v4, flows_v6: packed.v6 }
        });
        proto::Has { hosts: hosts.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn flows(number: u16) -> Vec<FlowKey> {
        let text = |n: u16| match n % 2 {
            0 => format!("tcp 198.51.100.7:{} > 192.0.2.9:80", n + 1),
            _ => format!("tcp [2001:db8::7]:{} > [2001:db8:1::9]:80", n + 1),
        };
        (0..number).map(|n| text(n).parse().unwrap()).collect()
    }

    #[test]
    fn any_number_of_flows_is_asked_for_and_answered_once_in_datagrams_that_fit() {
        for number in [0, 1, 2, 30, 45, 300] {
            let mut asked = Vec::new();
            for part in WhoHas::split(flows(number)) {
                let bytes = Message::WhoHas(part.clone()).encode_datagram().unwrap();
                assert_eq!(Message::decode(&bytes), Ok(Message::WhoHas(part.clone())));
                asked.extend(part.flows);
            }
            asked.sort();
            let mut expected = flows(number);
            expected.sort();
            assert_eq!(asked, expected);
            // Hosts of the longest names, a different one for each second flow.
            let host = |n: usize| (!n.is_multiple_of(3)).then(|| format!("{:a>63}", n / 2).parse().unwrap());
            let answers: BTreeMap<_, _> =
                flows(number).into_iter().enumerate().map(|(n, flow)| (flow, host(n))).collect();
            let mut found = BTreeMap::new();
            for part in Has::split(answers.clone()) {
                let bytes = Message::Has(part.clone()).encode_datagram().unwrap();
                assert_eq!(Message::decode(&bytes), Ok(Message::Has(part.clone())));
                for (host, flows) in part.hosts {
                    found.extend(flows.into_iter().map(|flow| (flow, host.clone())));
                }
            }
            assert_eq!(found, answers);
        }
    }

    #[test]
    fn what_is_no_question_and_no_answer_is_refused() {
        let v4 = vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 6];
        let ask = |v4: Vec<u8>| WhoHas::read(proto::WhoHas { flows_v4: v4, flows_v6: Vec::new() });
        assert!(ask(v4.clone()).is_ok());
        assert!(ask(Vec::new()).is_err());
        assert!(ask(v4.repeat(85)).is_err());
        assert!(ask(v4[1..].to_vec()).is_err());
        let of = |host: &str, v4: &[u8]| proto::has::HostFlows {
            host: host.to_owned(),
            flows_v4: v4.to_vec(),
            flows_v6: Vec::new(),
        };
        let answer = |hosts: Vec<proto::has::HostFlows>| Has::read(proto::Has { hosts });
        assert!(answer(vec![of("", &v4), of("h1", &v4)]).is_ok());
        assert!(answer(vec![]).is_err());
        assert!(answer(vec![of("h1", &[])]).is_err());
        assert!(answer(vec![of("h1", &v4), of("h1", &v4)]).is_err());
        assert!(answer(vec![of("no name", &v4)]).is_err());
        assert!(answer(vec![of("h1", &v4.repeat(85))]).is_err());
    }
}
