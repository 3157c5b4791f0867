//! A line for each drill, pass and kind of flow, for spreadsheets (RFC 4180).

use std::fmt::Write;

use crate::drill::result::DrillReport;

const HEADER: &str = "drill,rtt_us,loss_percent,rungs,seed,pass,kind,flows,survived,moved,reset,failed,untested,recovery_p50_us,\
    recovery_p90_us,recovery_p99_us,recovery_max_us,wait_p99_us,datagrams_lost,segments_resent\r\n";

/// All of it.
pub fn csv(drills: &[DrillReport]) -> String {
    let mut out = HEADER.to_owned();
    for drill in drills {
        for (name, pass) in [("null", &drill.null), ("measured", &drill.measured)] {
            let Some(pass) = pass else { continue };
            let kinds = pass.kinds.iter().map(|(kind, sums)| (kind.as_str(), sums)).chain([("all", &pass.total)]);
            for (kind, sums) in kinds {
                let conditions = conditions(drill);
                let _ = write!(out, "{},{conditions},{},{name},{}", field(&drill.drill), drill.seed, field(kind));
                let recovery = &sums.recovery_us;
                let numbers = [
                    sums.flows,
                    sums.survived,
                    sums.moved,
                    sums.reset,
                    sums.failed,
                    sums.untested,
                    recovery.p50,
                    recovery.p90,
                    recovery.p99,
                    recovery.max,
                    sums.wait_us.p99,
                    sums.datagrams_lost,
                    sums.segments_resent,
                ];
                for number in numbers {
                    let _ = write!(out, ",{number}");
                }
                out.push_str("\r\n");
            }
        }
    }
    out
}

/// What tells drills of one name apart; empty where nothing was asked for.
fn conditions(drill: &DrillReport) -> String {
    let rtt_us = drill.setup.rtt_us.map_or(String::new(), |us| us.to_string());
    let loss = drill.setup.loss_percent.map_or(String::new(), |percent| percent.to_string());
    format!("{rtt_us},{loss},{}", field(drill.rungs.as_deref().unwrap_or_default()))
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(super::field("mirror"), "mirror");
        assert_eq!(super::field("mirror,\"chain\""), "\"mirror,\"\"chain\"\"\"");
    }
}
