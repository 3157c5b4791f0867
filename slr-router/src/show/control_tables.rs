//! Answers about the control plane as tables for people.

use slr_daemon::table::Table;

use super::control::{Alarm, Ring, Session, State};
use super::tables::{or_dash, or_sentence, yes};
use crate::check::join;

/// Seconds as people say them.
pub fn age(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3_600.0),
    }
}

/// `show sessions`
pub fn sessions(rows: &Vec<Session>) -> String {
    let header =
        ["name", "role", "tunnels", "remote", "connected", "contact", "heard", "path", "rtt", "loss", "problem"];
    let mut table = Table::new(header);
    for row in rows {
        table.row([
            row.name.to_string(),
            row.role.to_string(),
            join(&row.tunnels),
            or_dash(row.remote.as_ref()),
            row.connected_s.map_or_else(|| "-".to_owned(), age),
            row.contact.clone(),
            row.heard_s.map_or_else(|| "never".to_owned(), |ago| format!("{} ago", age(ago))),
            row.path.clone(),
            row.rtt_us.map_or_else(|| "-".to_owned(), |us| format!("{:.2} ms", f64::from(us) / 1_000.0)),
            row.loss.map_or_else(|| "-".to_owned(), |loss| format!("{:.0}%", loss * 100.0)),
            or_dash(row.problem.as_ref()),
        ]);
    }
    or_sentence(&table, "Nobody has connected.")
}

/// `show states`
pub fn states(rows: &Vec<State>) -> String {
    let mut table = Table::new(["host", "service", "state", "for", "held", "weight", "connections", "reason"]);
    for row in rows {
        table.row([
            row.host.to_string(),
            row.service.to_string(),
            row.state.to_string(),
            age(row.for_s),
            yes(row.held),
            row.weight.to_string(),
            row.flows.to_string(),
            row.reason.clone(),
        ]);
    }
    or_sentence(&table, "Nobody advertises a service.")
}

/// `show policy`: a line for each ring and host.
pub fn policy(rows: &Vec<Ring>) -> String {
    let header = ["service", "class", "cost", "host", "inputs", "cost now", "target", "weight", "share", "moved"];
    let mut table = Table::new(header);
    for row in rows {
        let mut cells = vec![
            row.service.to_string(),
            or_dash(row.class.as_ref()),
            row.cost.clone().unwrap_or_else(|| "as listed".to_owned()),
        ];
        let mut moved = format!("{} + {} of {}", row.moved_by_cost, row.moved_by_state, row.slots);
        if row.hosts.is_empty() {
            cells.extend(["nobody".to_owned(), "-".into(), "-".into(), "-".into(), "-".into(), "-".into(), moved]);
            table.row(cells);
            continue;
        }
        for host in &row.hosts {
            let cost = host.cost.map_or_else(|| or_dash(host.fault.as_ref()), |cost| format!("{cost:.3}"));
            cells.extend([
                host.host.to_string(),
                host.inputs.join(" "),
                cost,
                host.target.map_or_else(|| "-".to_owned(), |target| format!("{target:.0}")),
                host.weight.to_string(),
                format!("{:.1}%", host.percent),
                std::mem::take(&mut moved),
            ]);
            table.row(std::mem::replace(&mut cells, vec![String::new(); 3]));
        }
    }
    or_sentence(&table, "No subnet is configured.")
}

/// `show alarms`
pub fn alarms(rows: &Vec<Alarm>) -> String {
    let mut table = Table::new(["alarm", "for", "hosts", "what"]);
    for row in rows {
        table.row([row.kind.clone(), age(row.for_s), join(&row.hosts), row.text.clone()]);
    }
    or_sentence(&table, "No alarm is raised.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_said_as_people_say_them() {
        assert_eq!([0.25, 11.0, 130.0, 9_000.0].map(age), ["0.2 s", "11 s", "2 min", "2 h"]);
    }

    #[test]
    fn states_read_like_this() {
        let rows = vec![State {
            host: "h1".parse().unwrap(),
            service: "tcp/80@192.0.2.0/24".parse().unwrap(),
            state: slr_session::registry::ServiceState::Silent,
            for_s: 3.0,
            reason: "not heard".into(),
            said: Default::default(),
            held: false,
            weight: Default::default(),
            flows: 7,
            loads: Default::default(),
        }];
        let golden = "\
host  service              state   for    held  weight  connections  reason
h1    tcp/80@192.0.2.0/24  silent  3.0 s  no       100            7  not heard";
        assert_eq!(states(&rows), golden);
        assert_eq!(states(&Vec::new()), "Nobody advertises a service.");
    }
}
