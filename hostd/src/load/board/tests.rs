//! Values come, age, and are combined.

use std::time::Duration;

use slr_policy::Vocabulary;

use super::*;

const STALE_AFTER: Duration = Duration::from_secs(3);

fn source(name: &str, kind: Kind) -> Source {
    let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    Source { name: name.parse().unwrap(), kind, interval, timeout, stale_after: STALE_AFTER }
}

fn command(name: &str) -> Source {
    source(name, Kind::Command { words: vec!["x".to_owned()] })
}

fn formula(text: &str) -> Expression {
    let names = ["cpu", "queue", "conns", FLOWS].map(|name| (name, 0.5));
    Expression::compile(text, &Vocabulary::new(names)).unwrap()
}

fn key() -> ServiceKey {
    "tcp/80@192.0.2.0/24".parse().unwrap()
}

fn board() -> Board {
    let sources = vec![command("cpu"), command("queue"), source("conns", Kind::Connections)];
    let services = BTreeMap::from([(key(), formula("max(cpu, flows / 100.0)"))]);
    Board::new(sources, Formulas { host: Some(formula("max(cpu, 0.5 * queue)")), services })
}

fn reading(name: &str, value: Result<f64, &str>) -> Reading {
    Reading { name: name.parse().unwrap(), value: value.map_err(str::to_owned) }
}

fn text(loads: &Loads) -> String {
    loads.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_value_is_advertised_and_combined() {
    let (mut board, now) = (board(), Instant::now());
    assert_eq!(text(&board.host(7, now)), "conns=7", "what is not known is not said");
    board.take(reading("cpu", Ok(0.25)), now);
    assert_eq!(text(&board.host(7, now)), "conns=7 cpu=0.25", "no load without queue");
    board.take(reading("queue", Ok(1.0)), now);
    assert_eq!(text(&board.host(7, now)), "conns=7 cpu=0.25 load=0.5 queue=1");
    assert_eq!(text(&board.service(&key(), 40, now)), "conns=40 load=0.4");
    assert_eq!(text(&board.service(&"any@192.0.2.0/24".parse().unwrap(), 3, now)), "conns=3");
}

#[test]
fn a_failing_source_keeps_its_value_for_a_while_and_is_named() {
    let (mut board, start) = (board(), Instant::now());
    board.take(reading("cpu", Ok(0.25)), start);
    board.take(reading("queue", Ok(1.0)), start);
    let later = |ms| start + Duration::from_millis(ms);
    board.take(reading("cpu", Ok(0.5)), later(2_000));
    board.take(reading("queue", Err("status 503")), later(2_000));
    let problem = |board: &Board, name: &str, now| {
        board.rows(0, now).into_iter().find(|row| row.name == name).map(|row| (row.value, row.problem)).unwrap()
    };
    assert_eq!(problem(&board, "queue", later(3_000)), (Some(1.0), "status 503".to_owned()));
    assert_eq!(text(&board.host(0, later(3_000))), "conns=0 cpu=0.5 load=0.5 queue=1");
    let stale = later(3_100);
    assert_eq!(text(&board.host(0, stale)), "conns=0 cpu=0.5");
    assert_eq!(problem(&board, "queue", stale), (None, "no value for 3.1 s: status 503".to_owned()));
    assert_eq!(problem(&board, "load", stale), (None, "no value of queue is known".to_owned()));
    board.take(reading("queue", Ok(2.0)), stale);
    assert_eq!(problem(&board, "queue", stale), (Some(2.0), String::new()));
}

#[test]
fn another_configuration_keeps_what_stays_the_same() {
    let (mut board, now) = (board(), Instant::now());
    board.take(reading("cpu", Ok(0.25)), now);
    board.take(reading("queue", Ok(1.0)), now);
    let changed = source("queue", Kind::Command { words: vec!["y".to_owned()] });
    board.set(vec![command("cpu"), changed], Formulas { host: Some(formula("cpu")), services: BTreeMap::new() });
    assert_eq!(text(&board.host(0, now)), "cpu=0.25 load=0.25", "the new queue is not the old one");
    board.take(reading("conns", Ok(1.0)), now);
    assert_eq!(text(&board.host(0, now)), "cpu=0.25 load=0.25", "nothing of a source that is gone");
}
