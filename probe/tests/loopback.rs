//! Both sides of the program against each other over loopback: every kind of flow, both families, nothing wrong.

mod support;

use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Server, run};

const EVERY_KIND: &str = "--flow http=20 --flow keepalive=4 --flow download=2 --flow upload=2 --flow interactive=10 \
                          --flow udp=10 --interval 5ms --requests 400 --download-bytes 3M --upload-bytes 3M";

#[test]
fn every_kind_of_flow_completes_in_both_families() {
    let server = Server::start("web1", &[]);
    for v6 in [false, true] {
        let run = run(&server.options(v6), EVERY_KIND);
        assert_eq!(run.status, 0, "{} {}", run.stderr, run.report);
        assert_eq!(run.report["ok"], true);
        for (kind, flows, answers) in [("http", 400, 400), ("download", 2, 2), ("upload", 2, 2), ("keepalive", 4, 400)]
        {
            assert_eq!(run.number(kind, "/completed"), flows, "{kind}");
            assert_eq!(run.number(kind, "/exchanges/answered"), answers, "{kind}");
        }
        for kind in ["interactive", "udp"] {
            assert_eq!(run.number(kind, "/completed"), 10, "{kind}");
            assert!(run.number(kind, "/exchanges/answered") >= 10, "{kind}");
            assert_eq!(run.number(kind, "/exchanges/answered"), run.number(kind, "/exchanges/sent"), "{kind}");
        }
        assert!(run.number("download", "/bytes_received") >= 6_000_000);
        assert!(run.number("upload", "/bytes_sent") >= 6_000_000);
        for kind in ["http", "keepalive", "download", "upload", "interactive", "udp"] {
            let servers = run.kind(kind)["servers"].as_array().expect("a list");
            assert_eq!(servers.len(), 1, "{kind}");
            assert_eq!(servers[0]["server"], server.identity(), "{kind}");
            assert_eq!(servers[0]["share"], 1.0);
        }
    }
    assert!(server.stop(), "SIGTERM is a good end");
}

#[test]
fn the_naive_and_the_dual_stack_server_answer_too() {
    for options in [&["--udp-naive"][..], &["--dual-stack"], &["--dual-stack", "--udp-naive"]] {
        let server = Server::start("web1", options);
        let port = server.options(true);
        for target in ["127.0.0.1", "::1"] {
            let pointed: Vec<_> =
                ["--target", target].into_iter().chain(port[2..].iter().map(String::as_str)).collect();
            if target == "127.0.0.1" && !options.contains(&"--dual-stack") {
                continue;
            }
            let run = run(&pointed, "--flow udp=3 --flow http=3 --requests 9 --messages 5 --interval 2ms");
            assert_eq!(run.status, 0, "{options:?} {target}: {}", run.report);
            assert_eq!(run.number("udp", "/exchanges/wrong_source"), 0);
        }
    }
}

/// 127.0.0.9 is local without being configured, as a virtual address is on its hosts, and the route back prefers
/// 127.0.0.1 as source: what a wildcard server that does not care about its source address sends goes astray.
#[test]
fn a_server_on_the_wildcard_answers_from_the_address_asked_unless_it_is_naive() {
    let at_9 = |server: &Server| {
        let mut options = server.options(false);
        options[1] = "127.0.0.9".to_owned();
        run(&options, "--flow udp=4 --messages 5 --interval 2ms --source-range 127.0.8.0/30")
    };
    let careful = at_9(&Server::start("web1", &[]));
    assert_eq!(careful.status, 0, "{}", careful.report);
    assert_eq!(careful.number("udp", "/exchanges/answered"), 20);
    assert_eq!(careful.number("udp", "/client_addresses"), 2);

    let naive = at_9(&Server::start("web1", &["--udp-naive"]));
    naive.assert_all_failed("udp", "wrong-source", 4);
    assert_eq!(naive.number("udp", "/exchanges/wrong_source"), 20);
}

#[test]
fn clients_are_spread_over_the_source_range() {
    let server = Server::start("web1", &[]);
    let options = "--flow http=50 --requests 600 --flow interactive=3 --interval 5ms --source-range 127.0.1.0/24 \
                   --source-range 127.0.2.0/24";
    let run = run(&server.options(false), options);
    assert_eq!(run.status, 0, "{}", run.report);
    assert!(run.number("http", "/client_addresses") >= 500, "{}", run.report);
    assert_eq!(run.number("interactive", "/client_addresses"), 3);
}

#[test]
fn a_duration_ends_every_kind_and_cuts_transfers_without_failing_them() {
    let server = Server::start("web1", &[]);
    let options = "--flow http=5 --flow keepalive=5 --flow download=2 --flow upload=1 --flow interactive=5 --flow udp=5 \
                   --duration 400ms --interval 10ms --think 3ms --upload-bytes 1000G --download-bytes 1G \
                   --download-path /bytes/{bytes}?rate=1000000";
    let run = run(&server.options(false), options);
    assert_eq!(run.status, 0, "{}", run.report);
    assert_eq!((run.number("download", "/cut"), run.number("upload", "/cut")), (2, 1), "{}", run.report);
    assert!(run.number("http", "/completed") > 0);
    assert_eq!(run.number("keepalive", "/completed"), 5);
    let paced = run.number("download", "/bytes_received");
    assert!((100_000..2_000_000).contains(&paced), "two flows at 1 MB/s for 0.4 s received {paced} bytes");
    let elapsed = run.report["elapsed_us"].as_u64().expect("a number");
    assert!(elapsed < 3_000_000, "the server is to stop when the client wants no more: {elapsed} us");
}

/// The names and types that readers of the JSON depend on; a difference here is a new schema version.
#[test]
fn json_has_the_documented_shape() {
    let server = Server::start("web1", &[]);
    let run = run(&server.options(true), "--flow udp=1 --messages 2 --interval 1ms --seed 42");
    let shape = |value: &Value| -> Vec<String> {
        let fields = value.as_object().expect("an object").iter();
        let mut shape: Vec<_> = fields.map(|(name, value)| format!("{name}:{}", type_name(value))).collect();
        shape.sort();
        shape
    };
    assert_eq!(run.report["schema"], "probe-run/1");
    assert_eq!(run.report["seed"], 42);
    assert_eq!(
        shape(&run.report),
        [
            "elapsed_us:number",
            "interrupted:bool",
            "kinds:list",
            "ok:bool",
            "own_lateness_us:object",
            "schema:text",
            "seed:number",
            "started_at_unix_ms:number",
            "total:object"
        ]
    );
    let summary = ["count:number", "max:number", "p50:number", "p90:number", "p999:number", "p99:number"];
    let kind = run.kind("udp");
    for times in ["latency_us", "connect_us", "gap_us"] {
        assert_eq!(shape(&kind[times]), summary);
    }
    assert_eq!(shape(&run.report["own_lateness_us"]).len(), summary.len() + 1);
    assert_eq!(
        shape(kind),
        [
            "answers_per_s:number",
            "bytes_received:number",
            "bytes_sent:number",
            "changed_server:number",
            "client_addresses:number",
            "completed:number",
            "connect_us:object",
            "cut:number",
            "examples:list",
            "exchanges:object",
            "failed:number",
            "failures:object",
            "flows:number",
            "gap_us:object",
            "kind:text",
            "latency_us:object",
            "reset:number",
            "servers:list",
            "started:number",
            "target:text"
        ]
    );
    assert_eq!(
        shape(&kind["exchanges"]),
        [
            "answered:number",
            "duplicate:number",
            "lost:number",
            "reordered:number",
            "sent:number",
            "wrong_source:number"
        ]
    );
    assert_eq!(shape(&kind["servers"][0]), ["answers:number", "flows:number", "server:text", "share:number"]);
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[test]
fn flows_out_tells_each_flow_by_itself() {
    let server = Server::start("web1", &[]);
    let file = std::env::temp_dir().join(format!("probe-flows-{}", std::process::id()));
    let options = format!("--flow http=3 --requests 7 --flow udp=2 --interval 5ms --flows-out {}", file.display());
    let run = run(&server.options(false), &options);
    let text = std::fs::read_to_string(&file).expect("the file was written");
    std::fs::remove_file(&file).expect("the file is ours");
    assert_eq!(run.status, 0, "{}", run.report);
    let flows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(flows.iter().filter(|flow| flow["kind"] == "http").count(), 7);
    assert_eq!(flows.iter().filter(|flow| flow["kind"] == "udp").count(), 2);
    for flow in &flows {
        assert_eq!(flow["outcome"], "completed", "{flow}");
        assert_eq!(flow["servers"][0]["server"], server.identity());
        let time = |pointer: &str| flow.pointer(pointer).and_then(Value::as_u64).expect(pointer);
        let (sent, progressed) = (time("/sends/0/0"), time("/progress/0/0"));
        assert!(time("/began_us") <= sent && sent <= progressed && progressed <= time("/ended_us"), "{flow}");
    }
}

#[test]
fn the_table_is_for_people() {
    let server = Server::start("web1", &[]);
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .arg("run")
        .args(server.options(false))
        .args(["--flow", "http=5", "--requests", "1500", "--flow", "udp=2"])
        .stderr(Stdio::null())
        .output()
        .expect("the binary under test starts");
    let table = String::from_utf8(output.stdout).expect("text");
    for part in ["http", "udp", "1,500", server.identity(), "100.0 %", "own lateness", "nothing failed in"] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let widest = table.lines().map(|line| line.chars().count()).max().expect("not empty");
    assert!(widest <= 120, "{widest} columns are too wide for a terminal:\n{table}");
}

#[test]
fn what_cannot_be_run_is_an_error_of_its_own() {
    for (options, said) in [
        ("--target 127.0.0.1", "--flow"),
        ("--flow http=1", "--target"),
        ("--target 127.0.0.1 --flow http=1 --source-range 192.0.2.0/24", "192.0.2.1 of --source-range"),
        ("--target 127.0.0.1 --flow http=1 --flows-out /nonexistent/file", "/nonexistent/file"),
        ("--target 127.0.0.1 --target ::1 --flow http=1", "fewer flows than there are targets"),
    ] {
        let run = run(&[] as &[&str], options);
        assert_eq!(run.status, 2, "{options}");
        assert!(run.stderr.contains(said), "{options}: {}", run.stderr);
    }
}

#[test]
fn an_interrupt_ends_a_run_with_its_report() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let server = Server::start("web1", &[]);
    let file = std::env::temp_dir().join(format!("probe-interrupted-{}", std::process::id()));
    let probe = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(["run", "--json", "--flow", "udp=3", "--flow", "http=1", "--duration", "1h", "--flows-out"])
        .arg(&file)
        .args(server.options(false))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    // Flows are written as they end, some kilobytes at a time: then the run is on its way.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::fs::metadata(&file).map_or(0, |file| file.len()) == 0 {
        assert!(std::time::Instant::now() < deadline, "no flow has ended");
        std::thread::yield_now();
    }
    kill(Pid::from_raw(probe.id() as i32), Signal::SIGINT).expect("the process is ours");
    let output = probe.wait_with_output().expect("the process is ours");
    std::fs::remove_file(&file).expect("the file is ours");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["total"]["failed"], 0);
    assert!(report["total"]["completed"].as_u64().is_some_and(|completed| completed > 3), "{report}");
}
