//! `probe drill` and `probe report` on loopback, against a `probe serve` that the test starts and stops, freezes or kills.

mod support;

use std::process::Command;

use serde_json::Value;
use support::Server;

/// Short and small: a quarter of a second of ramp, a hundred flows.
const SHORT: &str =
    "--flows 100 --ramp 250ms --before 750ms --after 2s --healed 500ms --idle-spread 300ms --json --skip-null";

/// Makes a drill with a command; its report.
fn drill(server: &Server, v6: bool, inject: &str, more: &str) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(["drill", "test", "--inject", inject])
        .args(SHORT.split(' '))
        .args(more.split_ascii_whitespace())
        .arg("--")
        .args(server.options(v6))
        .args(["--timeout", "2s", "--stall-timeout", "2s"])
        .output()
        .expect("the binary under test starts");
    let reports: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().expect("not killed"), reports[0].clone())
}

fn pid(server: &Server) -> &str {
    server.identity().split('/').nth(1).expect("name/pid/start")
}

#[test]
fn nothing_fails_and_the_error_is_small() {
    let server = Server::start("web1", &[]);
    for v6 in [false, true] {
        let (status, report) = drill(&server, v6, "true", "");
        let total = &report["measured"]["total"];
        assert_eq!(status, 0, "{total}");
        assert_eq!(total["survived"], total["flows"], "{total}");
        assert!(total["recovery_us"]["p50"].as_u64() < Some(50_000), "{total}");
    }
}

#[test]
fn a_freeze_of_300_ms_is_recovered_from_in_about_300_ms() {
    let server = Server::start("web1", &[]);
    let pid = pid(&server);
    let inject = format!("kill -STOP {pid}; echo failure at $(date +%s%6N); sleep 0.3; kill -CONT {pid}");
    let (status, report) = drill(&server, false, &inject, "");
    let download = &report["measured"]["kinds"]["download"];
    assert_eq!(status, 0, "{}", report["measured"]["total"]);
    let p50_us = download["recovery_us"]["p50"].as_u64().expect("a number");
    assert!((250_000..600_000).contains(&p50_us), "{download}");
}

#[test]
fn flows_of_a_killed_server_are_lost_and_counted() {
    let server = Server::start("web1", &[]);
    let (status, report) = drill(&server, false, &format!("kill -KILL {}", pid(&server)), "");
    let total = &report["measured"]["total"];
    assert_eq!(status, 1);
    assert_eq!(total["survived"], 0, "{total}");
    let lost = total["reset"].as_u64().expect("a number") + total["failed"].as_u64().expect("a number");
    assert_eq!(Some(lost), total["flows"].as_u64(), "{total}");
    assert!(report["measured"]["new_flows"]["failed"].as_u64() > Some(0));
}

#[test]
fn a_page_is_whole_and_what_is_told_is_text() {
    let server = Server::start("web1", &[]);
    let (_, mut report) = drill(&server, false, "true", "");
    report["drill"] = "<script>alert('&')</script>".into();
    report["summary"] = "a \"quoted\" <b>".into();
    let path = std::env::temp_dir().join(format!("probe-report-{}.json", std::process::id()));
    std::fs::write(&path, report.to_string()).expect("a temporary file");
    let told = |option: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_probe")).arg("report").arg(&path).args(option).output();
        String::from_utf8(output.expect("the binary under test starts").stdout).expect("text")
    };
    let (page, csv) = (told(&[]), told(&["--csv"]));
    std::fs::remove_file(&path).expect("it was written");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "escaped");
    assert!(!page.contains("<b>a") && page.contains("&lt;b&gt;"), "escaped");
    assert_well_formed(&page);
    assert_eq!(csv.lines().count(), 1 + report["measured"]["kinds"].as_object().expect("kinds").len() + 1);
}

#[test]
fn a_scenario_has_its_commands_in_order_and_the_site_its_rungs_again() {
    let server = Server::start("web1", &[]);
    let place = std::env::temp_dir().join(format!("probe-scenario-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a temporary directory");
    let run = |inject: &str| {
        let note = |words: &str| format!("'echo {words} >>told'\n");
        let scenario = format!("rungs = {}", note("rungs $PROBE_RUNGS"))
            + &format!("halfway = {}", note("halfway"))
            + &format!("inject = 'echo inject >>told; {inject}'\n")
            + &format!("heal = {}", note("heal"));
        std::fs::write(place.join("test.toml"), scenario).expect("a temporary file");
        let output = Command::new(env!("CARGO_BIN_EXE_probe"))
            .args(["drill", "test", "--rungs", "none", "--scenario"])
            .arg(place.join("test.toml"))
            .args(SHORT.split(' '))
            .arg("--")
            .args(server.options(false))
            .output()
            .expect("the binary under test starts");
        let told = std::fs::read_to_string(place.join("told")).expect("the commands say something");
        std::fs::remove_file(place.join("told")).expect("it was written");
        (output.status.code().expect("not killed"), told)
    };
    let in_order = "rungs none\nhalfway\ninject\nheal\nrungs\n";
    assert_eq!(run("true"), (0, in_order.to_owned()));
    assert_eq!(run("false"), (2, in_order.to_owned()), "what was begun is healed");
    std::fs::remove_dir_all(place).expect("it was made");
}

#[test]
fn drills_of_one_name_are_told_apart_everywhere() {
    let server = Server::start("web1", &[]);
    let (_, plain) = drill(&server, false, "true", "");
    let mut lossy = plain.clone();
    lossy["setup"]["loss_percent"] = 1.into();
    let mut slow = plain.clone();
    slow["setup"]["rtt_us"] = 40_000.into();
    let mut bare = lossy.clone();
    bare["rungs"] = "none".into();
    let path = std::env::temp_dir().join(format!("probe-reports-{}.json", std::process::id()));
    std::fs::write(&path, Value::from(vec![plain, lossy, slow, bare]).to_string()).expect("a temporary file");
    let told = |option: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_probe")).arg("report").arg(&path).args(option).output();
        String::from_utf8(output.expect("the binary under test starts").stdout).expect("text")
    };
    let (page, csv) = (told(&[]), told(&["--csv"]));
    std::fs::remove_file(&path).expect("it was written");
    assert_well_formed(&page);
    for title in ["test", "test, 1 % loss", "test, 40.0 ms RTT", "test, 1 % loss, rungs: none"] {
        for place in ["<h2>{}</h2>", "<td>{}</td>", ">{}</text>", "Recovery times of {}\"", "<figcaption>{}: share"] {
            let place = place.replace("{}", title);
            assert_eq!(page.matches(&place).count(), 1, "{place}");
        }
    }
    for conditions in ["test,,,,1,", "test,,1,,1,", "test,40000,,,1,", "test,,1,none,1,"] {
        let all = format!("{conditions}measured,all,");
        assert_eq!(csv.lines().filter(|line| line.starts_with(&all)).count(), 1, "{all}");
    }
}

/// Every tag that is opened is closed, in order; nothing is fetched.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    for piece in page.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').unwrap_or_else(|| panic!("a tag without an end: {piece}"));
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
        match () {
            () if tag.starts_with('!') || tag.ends_with('/') => {}
            () if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "in {piece}"),
            () => open.push(name),
        }
        assert!(!tag.contains("src=") && !tag.contains("href="), "{tag}");
    }
    assert_eq!(open, Vec::<&str>::new());
}
