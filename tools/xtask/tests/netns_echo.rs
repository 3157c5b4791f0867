//! The augmented echo alone, between two clusters: what servers wait for goes on, clients that drop echoes are told of, and a translator
//! answers in its clients' place. With real daemons, and clients' real stacks.

use serde_json::Value;
use slr_testkit::require_root;
use xtask::drills;
use xtask::pair::{HOSTS, Kind, Pair, SLRS};

/// Flows in which the server always waits for something: an acknowledgement, or the rest of an upload.
const DUE: &str = "--rtt 10ms --ramp 500ms --before 1500ms --after 3s --healed 500ms --skip-null --rungs echo -- \
                   --flow download=30 --flow upload=30 --download-path /bytes/{bytes}?rate=100000";

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {path}: {value}"))
}

/// How many flows an SLR has recovered by echoes, in the drill.
fn saved(drill: &Value) -> u64 {
    SLRS.iter().map(|slr| number(drill, &format!("/measured/rungs_saved/flows/{slr} echo"))).sum()
}

fn outcomes(pair: &Pair, table: &str, outcome: &str) -> u64 {
    let of = |host: &&str| {
        let recovery = pair.show(host, "recovery").unwrap();
        let rows = recovery[table].as_array().unwrap().clone();
        rows.iter()
            .find(|row| row[0] == outcome)
            .and_then(|row| row[1].as_u64())
            .unwrap_or_else(|| panic!("{recovery}"))
    };
    HOSTS.iter().map(of).sum()
}

fn assert_all_survived(drill: &Value) {
    let total = &drill["measured"]["total"];
    assert!(number(total, "/flows") >= 50, "{total}");
    assert_eq!(total["survived"], total["flows"], "{total} {}", drill["measured"]["examples"]);
}

#[test]
fn what_servers_wait_for_goes_on_by_echoes_alone() {
    require_root();
    let pair = drills::pair("echo", Kind::TwoSlr).unwrap();
    let drill = drills::drill(pair.lab(), "c1", "route-change", DUE, None).unwrap();
    println!("{} {}", drill["measured"]["total"], drill["measured"]["rungs_saved"]);
    assert_all_survived(&drill);
    assert!(saved(&drill) > 40, "{}", drill["measured"]["rungs_saved"]);
    assert!(outcomes(&pair, "echoes", "answered") > 0);
    assert_eq!(outcomes(&pair, "echoes", "forged") + outcomes(&pair, "echoes", "without_key"), 0);
}

#[test]
fn a_translator_answers_in_its_clients_place() {
    require_root();
    let pair = drills::pair("echo-nat", Kind::Nat).unwrap();
    let drill = drills::drill(pair.lab(), "lan", "nat-client", DUE, None).unwrap();
    assert_all_survived(&drill);
    assert!(saved(&drill) > 40, "{}", drill["measured"]["rungs_saved"]);
}

#[test]
fn clients_that_drop_echoes_are_given_up_and_counted() {
    require_root();
    let pair = drills::pair("echo-filtered", Kind::Filtered).unwrap();
    let words = format!("{DUE} --timeout 2s --stall-timeout 2s");
    let drill = drills::drill(pair.lab(), "c1", "echo-filtered", &words, None).unwrap();
    assert_eq!(saved(&drill), 0);
    let total = &drill["measured"]["total"];
    assert!(total["survived"].as_u64() < total["flows"].as_u64(), "nothing helps: {total}");
    assert!(outcomes(&pair, "echoes", "asked") > 0);
    assert_eq!(outcomes(&pair, "echoes", "answered"), 0);
}
