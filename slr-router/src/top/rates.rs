//! Two overviews set against each other.

use std::collections::BTreeMap;

use crate::overview::Overview;

/// A second's worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Packets.
    pub packets: f64,
    /// Bytes.
    pub bytes: f64,
    /// Flows placed.
    pub flows: f64,
}

/// Of everything that is counted, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub hosts: BTreeMap<String, Rate>,
    pub subnets: BTreeMap<String, Rate>,
    pub reasons: BTreeMap<String, Rate>,
    /// Flows brought back, by rung.
    pub recovered: BTreeMap<String, f64>,
}

type Counts = (String, [u64; 3]);

impl Rates {
    /// What grew from one to the other. What was not there before, or went back since, is not known.
    pub fn between(old: &Overview, new: &Overview) -> Self {
        let seconds = new.at_ms.saturating_sub(old.at_ms) as f64 / 1_000.0;
        if seconds <= 0.0 {
            return Self::default();
        }
        let hosts = |of: &Overview| -> Vec<Counts> {
            of.hosts.iter().map(|h| (h.name.to_string(), [h.packets, h.bytes, h.flows_placed])).collect()
        };
        let subnets = |of: &Overview| -> Vec<Counts> {
            of.subnets.iter().map(|s| (s.name.clone(), [s.packets, s.bytes, s.flows_placed])).collect()
        };
        let reasons = |of: &Overview| -> Vec<Counts> {
            of.reasons.iter().map(|r| (r.reason.clone(), [r.packets, r.bytes, 0])).collect()
        };
        let recovered = new.recovered.iter().filter_map(|(rung, flows)| {
            let more = flows.checked_sub(*old.recovered.get(rung)?)?;
            Some((rung.clone(), more as f64 / seconds))
        });
        Self {
            hosts: rates(hosts(old), hosts(new), seconds),
            subnets: rates(subnets(old), subnets(new), seconds),
            reasons: rates(reasons(old), reasons(new), seconds),
            recovered: recovered.collect(),
        }
    }
}

fn rates(old: Vec<Counts>, new: Vec<Counts>, seconds: f64) -> BTreeMap<String, Rate> {
    let old: BTreeMap<String, [u64; 3]> = old.into_iter().collect();
    let rate = |(name, counts): Counts| {
        let before = old.get(&name)?;
        let mut per_s = [0.0; 3];
        for place in 0..3 {
            per_s[place] = counts[place].checked_sub(before[place])? as f64 / seconds;
        }
        Some((name, Rate { packets: per_s[0], bytes: per_s[1], flows: per_s[2] }))
    };
    new.into_iter().filter_map(rate).collect()
}

/// 1234567 as `1.23M`.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if scaled >= 100.0 || scaled.fract() < 0.005 {
        0
    } else if scaled >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::sample;

    #[test]
    fn rates_are_by_the_time_between_and_unknown_for_what_began_anew() {
        let (old, mut new) = (sample(), sample());
        new.at_ms += 2_000;
        new.hosts[0].packets += 300;
        new.hosts[1].packets = 0;
        new.recovered.insert("chain".to_owned(), old.recovered["chain"] + 4);
        let rates = Rates::between(&old, &new);
        assert_eq!(rates.hosts[old.hosts[0].name.as_str()].packets, 150.0);
        assert_eq!(rates.hosts.get(old.hosts[1].name.as_str()), None);
        assert_eq!(rates.recovered["chain"], 2.0);
        assert_eq!(Rates::between(&new, &old), Rates::default(), "time does not go back");
    }

    #[test]
    fn numbers_are_short() {
        let table = [
            (0.0, "0"),
            (0.5, "0.50"),
            (12.34, "12.3"),
            (999.0, "999"),
            (12_345.0, "12.3k"),
            (2.5e6, "2.50M"),
            (3e9, "3G"),
        ];
        for (value, expected) in table {
            assert_eq!(short(value), expected);
        }
    }
}
