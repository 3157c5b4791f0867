//! Whose tunnels are taken is what parents say, also when no parent is there any more; and who is told nothing.

use std::net::TcpStream;

use slr_model::HostState::Active;
use slr_model::NodeName;
use slr_testkit::eventually;
use slr_wire::{Roster, RosterNode};

use crate::parent::Tells;
use crate::scene::*;

fn prefixes(scene: &Scene) -> Vec<String> {
    let words = |row: &serde_json::Value| row["prefix"].as_str().unwrap().to_owned();
    let mut prefixes: Vec<String> = scene.show("peers").iter().map(words).collect();
    prefixes.sort();
    prefixes
}

fn reaches(scene: &Scene) -> TcpStream {
    let listener = scene.listener(8080);
    let (client, to) = PAIRS[0];
    let stream = scene.connect(client, to, 8080);
    listener.accept().unwrap();
    stream
}

#[test]
fn tunnels_are_taken_from_whom_parents_name_and_remembered() {
    let mut scene = Scene::new();
    scene.write_config("");
    let node = |name: &str, address: &str| RosterNode {
        name: name.parse::<NodeName>().unwrap(),
        tunnel_addresses: vec![address.parse().unwrap()],
    };
    let roster = Roster { generation: 1, nodes: vec![node("h", HOST), node("h2", "10.1.12.2")] };
    // The second prefix is not in the parent's certificate.
    let sources = ["10.1.255.0/24", "10.9.0.0/16"].map(|net| net.parse().unwrap()).to_vec();
    scene.start_parent(Tells { sources, roster });
    scene.start();
    scene.await_state(&["any@192.0.2.0/24", "any@2001:db8:100::/48"], Active);
    eventually(PATIENCE, "the peers", || prefixes(&scene) == ["10.1.12.2/32", "10.1.255.0/24"]);
    assert!(scene.hostd().log().contains("10.9.0.0/16"), "refused, and said");
    drop(reaches(&scene));
    let sessions = scene.show("sessions");
    assert_eq!((&sessions[0]["parent"], &sessions[0]["state"]), (&"slr1".into(), &"connected".into()));

    scene.kill();
    scene.parent = None;
    scene.start();
    assert_eq!(prefixes(&scene), ["10.1.12.2/32", "10.1.255.0/24"], "before any parent is heard");
    drop(reaches(&scene));
    eventually(PATIENCE, "the session to be tried", || scene.show("sessions")[0]["state"] == "connecting");
    let incarnation = |scene: &Scene| -> u64 {
        let state = std::fs::read(scene.folder().join("state/state.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&state).unwrap()["incarnation"].as_u64().unwrap()
    };
    let first = incarnation(&scene);
    scene.kill();
    scene.start();
    assert!(incarnation(&scene) > first);
}

#[test]
fn a_certificate_that_is_another_hosts_is_found_out_before_anything_runs() {
    let scene = Scene::new();
    scene.write_config("");
    let good = scene.ask(&["check"]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let path = scene.folder().join("hostd.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("/h/h.pem", "/other/other.pem").replace("/h/h-key.pem", "/other/other-key.pem"))
        .unwrap();
    let refused = scene.ask(&["check"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words.contains("is the certificate of host other, and this is host h"), "{words}");
}

#[test]
fn a_reload_adds_and_takes_back_services_without_a_new_session() {
    let mut scene = Scene::new();
    scene.write_config("");
    scene.start();
    scene.await_state(&["any@192.0.2.0/24", "any@2001:db8:100::/48"], Active);
    let keys =
        |scene: &Scene| -> Vec<String> { scene.parent().heard().services.keys().map(ToString::to_string).collect() };

    scene.write_config("[[service]]\nsubnet = \"web4\"\nservice = \"tcp/8080\"\ncheck = { kind = \"tcp\" }\n");
    let listener = scene.listener(8080);
    assert!(scene.ask(&["reload"]).status.success());
    scene.await_state(&["tcp/8080@192.0.2.0/24"], Active);
    assert_eq!(keys(&scene), ["tcp/8080@192.0.2.0/24", "any@2001:db8:100::/48"], "any@192.0.2.0/24 is withdrawn");

    let good = std::fs::read_to_string(scene.folder().join("hostd.toml")).unwrap();
    std::fs::write(scene.folder().join("hostd.toml"), good.replace("slr1", "slr2").replace("h.pem", "none.pem"))
        .unwrap();
    let refused = scene.ask(&["reload"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("none.pem"), "{words}");
    assert_eq!(scene.show("sessions")[0]["parent"], "slr1", "the old configuration stays in force");
    drop(listener);
    scene.await_state(&["tcp/8080@192.0.2.0/24"], slr_model::HostState::Down);
    assert_eq!((scene.parent().heard().hellos, scene.parent().heard().ended), (1, 0));
}
