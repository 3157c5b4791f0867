//! Answers as tables for people. Columns that are mostly of use to programs are in `--json` only.

use slr_daemon::table::Table;

use super::rows;
use crate::check::join;

pub fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

pub fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// Bytes as people say them: 1536 is `1.5 kB`; powers of a thousand, as on network links.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Seconds as people say them.
fn age(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// A table, or a sentence where it would be empty.
pub fn or_sentence(table: &Table, sentence: &str) -> String {
    if table.is_empty() { sentence.to_owned() } else { table.to_string() }
}

/// `show hosts`
pub fn hosts(rows: &Vec<rows::Host>) -> String {
    let header =
        ["host", "address", "state", "weight", "subnets", "hop", "up", "mtu", "neighbour", "packets", "bytes", "flows"];
    let mut table = Table::new(header);
    for row in rows {
        let neighbour = match (&row.problem, &row.neighbour) {
            (Some(problem), _) => problem.clone(),
            (None, neighbour) => or_dash(neighbour.as_ref()),
        };
        table.row([
            row.name.to_string(),
            row.address.to_string(),
            row.state.to_string(),
            row.weight.to_string(),
            join(&row.subnets),
            or_dash(row.hop.as_ref()),
            yes(row.up),
            or_dash(row.mtu.as_ref()),
            neighbour,
            row.usage.packets.to_string(),
            bytes(row.usage.bytes),
            row.flows.to_string(),
        ]);
    }
    or_sentence(&table, "No host is known: nobody has connected, and the hosts file lists none.")
}

/// `show subnets`: a line per subnet and host.
pub fn subnets(rows: &Vec<rows::Subnet>) -> String {
    let header =
        ["subnet", "prefix", "account", "serves", "packets", "bytes", "flows placed", "host", "slots", "share"];
    let mut table = Table::new(header);
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            row.prefix.to_string(),
            row.account.to_string(),
            row.services.as_ref().map_or_else(|| "everything".to_owned(), |services| join(services)),
            row.usage.packets.to_string(),
            bytes(row.usage.bytes),
            row.usage.flows_placed.to_string(),
        ];
        if row.shares.is_empty() {
            cells.extend(["no active host".to_owned(), "-".to_owned(), "-".to_owned()]);
            table.row(cells);
            continue;
        }
        for share in &row.shares {
            cells.extend([share.host.to_string(), share.slots.to_string(), format!("{:.1}%", share.percent)]);
            table.row(std::mem::replace(&mut cells, vec![String::new(); 7]));
        }
    }
    or_sentence(&table, "No subnet is configured: every packet passes to the kernel.")
}

/// `show flows`
pub fn flows(answer: &rows::Flows) -> String {
    let mut table = Table::new(["proto", "client", "virtual host", "host", "pinned", "idle", "closing"]);
    for row in &answer.flows {
        table.row([
            row.protocol.to_string(),
            row.client.to_string(),
            row.virtual_host.to_string(),
            or_dash(row.host.as_ref()),
            yes(row.pinned),
            age(row.idle_s),
            yes(row.closing),
        ]);
    }
    let more = if answer.limit_reached { "; there may be more, see --limit" } else { "" };
    format!(
        "{}\n\n{} shown{more}. Pinned: {} IPv4 and {} IPv6, of {} each.",
        or_sentence(&table, "No such flow."),
        answer.flows.len(),
        answer.pinned_v4,
        answer.pinned_v6,
        answer.capacity_per_family
    )
}

/// `show hops`
pub fn hops(rows: &Vec<rows::Hop>) -> String {
    let header = [
        "hop",
        "gen",
        "host",
        "address",
        "up",
        "mtu",
        "link mtu",
        "expires",
        "interface",
        "source",
        "destination",
        "packets",
    ];
    let mut table = Table::new(header);
    for row in rows {
        table.row([
            row.hop.to_string(),
            row.generation.to_string(),
            or_dash(row.host.as_ref()),
            row.address.to_string(),
            yes(row.up),
            or_dash(row.mtu.as_ref()),
            or_dash(row.link_mtu.as_ref()),
            row.mtu_expires_in_s.map_or_else(|| "-".to_owned(), age),
            or_dash(row.interface.as_ref()),
            or_dash(row.source.as_ref()),
            or_dash(row.destination.as_ref()),
            row.usage.packets.to_string(),
        ]);
    }
    or_sentence(&table, "No hop is in use.")
}

/// `show counters`
pub fn counters(rows: &Vec<rows::Counter>) -> String {
    let mut table = Table::new(["reason", "verdict", "packets", "bytes", "meaning"]);
    for row in rows {
        table.row([&row.reason, &row.verdict, &row.packets.to_string(), &bytes(row.bytes), &row.meaning]);
    }
    table.to_string()
}

/// `show drops`: reasons with their meanings, then what helps.
pub fn drops(rows: &Vec<rows::Counter>) -> String {
    let mut table = Table::new(["reason", "packets", "bytes", "meaning", "what usually helps"]);
    for row in rows {
        table.row([
            row.reason.clone(),
            row.packets.to_string(),
            bytes(row.bytes),
            row.meaning.clone(),
            or_dash(row.remedy.as_ref()),
        ]);
    }
    or_sentence(&table, "Nothing was dropped.")
}

#[cfg(test)]
mod tests {
    use super::rows::{Flow, Flows, Host, Share, Subnet, Usage};
    use super::*;

    fn usage() -> Usage {
        Usage { packets: 1200, bytes: 1_500_000, flows_placed: 40 }
    }

    fn host(name: &str, problem: Option<&str>) -> Host {
        Host {
            name: name.parse().unwrap(),
            address: "10.1.11.2".parse().unwrap(),
            state: "active".parse().unwrap(),
            weight: Default::default(),
            subnets: vec!["web".into(), "dns".into()],
            hop: Some(1),
            up: problem.is_none(),
            mtu: problem.is_none().then_some(1500),
            neighbour: Some("02:00:00:00:11:02".parse().unwrap()),
            problem: problem.map(str::to_owned),
            usage: usage(),
            flows: 7,
        }
    }

    #[test]
    fn hosts_read_like_this() {
        let rows = vec![host("h1", None), host("h2", Some("10.1.11.2 does not answer on lan0"))];
        let golden = "\
host  address    state   weight  subnets   hop  up    mtu  neighbour                          packets  bytes   flows
h1    10.1.11.2  active     100  web, dns    1  yes  1500  02:00:00:00:11:02                     1200  1.5 MB      7
h2    10.1.11.2  active     100  web, dns    1  no      -  10.1.11.2 does not answer on lan0     1200  1.5 MB      7";
        assert_eq!(hosts(&rows), golden);
        assert_eq!(hosts(&Vec::new()), "No host is known: nobody has connected, and the hosts file lists none.");
    }

    #[test]
    fn subnets_list_each_hosts_share() {
        let share = |host: &str, slots, percent| Share { host: host.parse().unwrap(), slots, percent };
        let subnet = |name: &str, shares| Subnet {
            name: name.into(),
            prefix: "192.0.2.0/24".parse().unwrap(),
            account: 3,
            services: Some(vec!["tcp/80".parse().unwrap()]),
            orphan: Default::default(),
            echo: Default::default(),
            ring_slots: 300,
            shares,
            usage: usage(),
        };
        let rows =
            vec![subnet("web", vec![share("h1", 100, 33.33), share("h2", 200, 66.67)]), subnet("old", Vec::new())];
        let golden = "\
subnet  prefix        account  serves  packets  bytes   flows placed  host            slots  share
web     192.0.2.0/24  3        tcp/80  1200     1.5 MB  40            h1                100  33.3%
                                                                      h2                200  66.7%
old     192.0.2.0/24  3        tcp/80  1200     1.5 MB  40            no active host      -      -";
        assert_eq!(subnets(&rows), golden);
    }

    #[test]
    fn flows_end_with_their_number() {
        let flow = Flow {
            protocol: "tcp".parse().unwrap(),
            client: "[2001:db8::7]:40000".parse().unwrap(),
            virtual_host: "[2001:db8:1::9]:80".parse().unwrap(),
            host: None,
            pinned: true,
            idle_s: 130,
            closing: false,
        };
        let answer =
            Flows { pinned_v4: 0, pinned_v6: 1, capacity_per_family: 10, limit_reached: true, flows: vec![flow] };
        let golden = "\
proto  client               virtual host        host  pinned  idle   closing
tcp    [2001:db8::7]:40000  [2001:db8:1::9]:80     -  yes     2 min  no

1 shown; there may be more, see --limit. Pinned: 0 IPv4 and 1 IPv6, of 10 each.";
        assert_eq!(flows(&answer), golden);
    }

    #[test]
    fn numbers_are_said_as_people_say_them() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_949, "99.9 kB"),
            (150_000, "150 kB"),
            (2_500_000_000, "2.5 GB"),
        ];
        for (count, text) in table {
            assert_eq!(bytes(count), text);
        }
        assert_eq!([age(5), age(119), age(120), age(7_200)], ["5 s", "119 s", "2 min", "2 h"]);
    }
}
