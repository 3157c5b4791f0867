//! Every state and every event: what becomes of a host, at once and when the window is over.

mod registry_support;

use registry_support::{ALIVE, Bench, identity, ms};
use slr_model::HostState;
use slr_session::registry::{Cause, PathReport, ServiceState, Settings};

/// Rows: states of host 1 of three, the others being well. Columns: events. A cell is the state at once, and after `>`
/// the state when a window has passed, where that is another one.
///
/// - *removed*: never seen, or gone. *awaited*: says active, its tunnel has not answered yet.
/// - *fading*: was active, its connection was lost just now. *fading-path*: the same of its path.
/// - *silent*: was active, its connection is lost. *broken*: was active, adverts come, its path is lost. *unreached*: both.
/// - *held*: was active, all three were lost at once. *adopted*: was active before this router was started again.
///
/// Host 1 answers asks until *adverts-stop*, which passes the time of silence and a window; *an-hour* passes more than the time to forget.
const TABLE: &str = "
state       | says-active    | says-draining   | says-down | adverts-stop    | disconnects       | path-lost          | path-alive | hello    | withdraws | revoked | an-hour
removed     | silent         | draining        | down      | removed         | removed           | removed            | removed    | removed  | removed   | removed | removed
awaited     | silent         | draining        | down      | silent          | silent            | silent             | active     | silent   | removed   | removed | silent>removed
active      | active         | draining        | down      | active>silent   | active>silent     | active>silent      | active     | active   | removed   | removed | active>removed
draining    | active         | draining        | down      | draining>silent | draining>silent   | draining>silent    | draining   | draining | removed   | removed | draining>removed
down        | active         | draining        | down      | down            | down              | down               | down       | down     | removed   | removed | down>removed
fading      | active         | draining        | down      | active>silent   | active>silent     | active>down        | active>silent | active | active>silent | removed | active>removed
fading-path | active>silent  | draining>silent | down      | active>down     | active>down       | active>silent      | active     | active>silent | removed | removed | active>removed
silent      | active         | draining        | down      | silent          | silent            | down               | silent     | silent   | silent    | removed | silent>removed
broken      | silent         | silent          | down      | silent>down     | down              | silent             | active     | silent   | removed   | removed | silent>removed
unreached   | silent         | silent          | down      | down            | down              | down               | silent     | down     | down      | removed | down>removed
held        | active         | draining        | down      | active          | active            | active             | active     | active   | active    | removed | active
adopted     | active         | draining        | down      | active          | active            | active             | active     | active   | active    | removed | active>removed
";

/// A host and two others that are well, in this state.
fn prepare(state: &str) -> Bench {
    let mut bench = Bench::new(Settings::default());
    bench.start(2);
    bench.start(3);
    match state {
        "removed" => return bench,
        "awaited" => {
            bench.advertise(1, HostState::Active);
            return bench;
        }
        _ => bench.start(1),
    }
    match state {
        "active" => {}
        "draining" => bench.advertise(1, HostState::Draining),
        "down" => bench.advertise(1, HostState::Down),
        "fading" => bench.disconnect(1),
        "fading-path" => bench.path(1, PathReport::Lost),
        "silent" => {
            bench.disconnect(1);
            bench.wait_hearing(ms(400), &[2, 3]);
        }
        "broken" => {
            bench.path(1, PathReport::Lost);
            bench.wait_hearing(ms(400), &[1, 2, 3]);
        }
        "unreached" => {
            bench.path(1, PathReport::Lost);
            bench.disconnect(1);
            bench.wait_hearing(ms(400), &[2, 3]);
        }
        "held" => {
            (1..=3).for_each(|n| bench.disconnect(n));
            bench.wait(ms(400));
            assert!((1..=3).all(|n| bench.is_held(n)), "all three vanished at once");
        }
        "adopted" => {
            bench.restart();
            bench.start(2);
            bench.start(3);
        }
        other => panic!("the table has a state {other} that nobody prepares"),
    }
    bench
}

/// The event, and the hosts that go on adverting after it.
fn happen(bench: &mut Bench, state: &str, event: &str) {
    let connection = bench.connections.get(&1).copied();
    match event {
        "says-active" => bench.advertise(1, HostState::Active),
        "says-draining" => bench.advertise(1, HostState::Draining),
        "says-down" => bench.advertise(1, HostState::Down),
        "disconnects" => bench.disconnect(1),
        "path-lost" => bench.path(1, PathReport::Lost),
        "path-alive" => bench.path(1, ALIVE),
        "hello" => {
            bench.connect(1);
        }
        "withdraws" => {
            if let Some(connection) = connection {
                bench.registry.withdraw(connection, "test", bench.now);
            }
        }
        "revoked" => {
            bench.registry.remove(&identity(1).name, Cause::Revoked, "", bench.now);
        }
        "adverts-stop" | "an-hour" => {
            bench.deaf.insert(1);
        }
        other => panic!("the table has an event {other} that nobody makes happen, in state {state}"),
    }
}

#[test]
fn every_event_in_every_state_ends_as_the_table_says() {
    let mut lines = TABLE.trim().lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let events = lines.next().unwrap();
    let mut wrong = Vec::new();
    let mut cells = 0;
    for row in lines {
        assert_eq!(row.len(), events.len(), "row {}", row[0]);
        for (event, cell) in events.iter().zip(&row).skip(1) {
            let mut bench = prepare(row[0]);
            happen(&mut bench, row[0], event);
            let at_once = bench.state(1);
            let others: &[u16] = if row[0] == "held" { &[] } else { &[2, 3] };
            bench.wait_hearing(
                match *event {
                    "adverts-stop" => ms(2_900),
                    "an-hour" => ms(3_600_000 + 12_000),
                    _ => ms(400),
                },
                others,
            );
            let later = bench.state(1);
            let got = if at_once == later { at_once.to_string() } else { format!("{at_once}>{later}") };
            if got != *cell {
                wrong.push(format!("{} + {event}: {got}, the table says {cell}", row[0]));
            }
            cells += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cells, 12 * 11);
}

#[test]
fn only_active_hosts_are_placed_and_only_down_ones_lose_their_pins() {
    for &state in ServiceState::ALL {
        assert_eq!(state.takes_new_flows(), state == ServiceState::Active);
        let unpins = matches!(state, ServiceState::Down | ServiceState::Removed);
        assert_eq!(state.keeps_flows(), !unpins, "{state}");
    }
}
