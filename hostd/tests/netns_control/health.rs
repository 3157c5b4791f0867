//! Servers that stop, freeze and break, and a daemon that is not to blame them for its own sleep.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use slr_model::HostState::{Active, Down};

use crate::scene::*;
use crate::server::{Http, udp_echo};

/// What is promised is 1.5 s until new flows avoid the service; adverts and rings have their share of it.
const SAID_WITHIN: Duration = Duration::from_millis(1_400);

#[test]
fn a_server_that_stops_freezes_or_fails_is_said_to_be_down_in_time_and_the_one_beside_it_is_not() {
    let mut scene = Scene::new();
    let mut http = Http::start(&scene, 80);
    let _udp = udp_echo(&scene, 53);
    scene.write_config(SERVICES);
    scene.start();
    scene.await_state(&[WEB4, WEB6, DNS4, DNS6], Active);

    let fails = |scene: &Scene, why: &str, since: Instant| {
        scene.await_state(&[WEB4, WEB6], Down);
        for service in [WEB4, WEB6] {
            let (after, reason) = scene.parent().change_since(since, service, Down).expect("a change");
            eprintln!("{service} down after {after:?}: {reason}");
            assert!(after < SAID_WITHIN, "{service} after {after:?}: {reason}");
            assert!(reason.contains(why), "{reason}");
        }
    };
    let since = Instant::now();
    http.answer(500);
    fails(&scene, "http: status 500, 3 times", since);
    http.answer(200);
    scene.await_state(&[WEB4, WEB6], Active);

    let since = Instant::now();
    http.signal(Signal::SIGSTOP);
    fails(&scene, "no answer from", since);
    http.signal(Signal::SIGCONT);
    scene.await_state(&[WEB4, WEB6], Active);

    let since = Instant::now();
    http.kill();
    fails(&scene, "refused", since);
    http.restart(&scene);
    scene.await_state(&[WEB4, WEB6], Active);

    let heard = scene.parent().heard();
    let of_dns = |key: &slr_model::ServiceKey| [DNS4, DNS6].contains(&key.to_string().as_str());
    let changes: Vec<_> = heard.changes.iter().filter(|(_, key, ..)| of_dns(key)).collect();
    assert_eq!(changes.len(), 2, "the name servers were active all the time: {changes:?}");
    let rows = scene.show("health");
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["health"] == "up" && row["successes"].as_u64() > Some(2)), "{rows:?}");
    // Checks leave nothing behind that would count as a flow.
    assert!(scene.show("services").iter().all(|row| row["flows"] == 0), "{:?}", scene.show("services"));
    assert_eq!(heard.hellos, 1, "one session all the while");
}

#[test]
fn a_daemon_that_sleeps_blames_nobody() {
    let mut scene = Scene::new();
    let _http = Http::start(&scene, 80);
    let _udp = udp_echo(&scene, 53);
    scene.write_config(SERVICES);
    scene.start();
    scene.await_state(&[WEB4, WEB6, DNS4, DNS6], Active);
    let before = scene.parent().heard().changes.len();
    for _ in 0..3 {
        scene.hostd().signal(Signal::SIGSTOP).unwrap();
        // The time itself is what is tested: far more than what makes a service down.
        std::thread::sleep(Duration::from_secs(2));
        scene.hostd().signal(Signal::SIGCONT).unwrap();
        let tries =
            |scene: &Scene| scene.show("health").iter().map(|row| row["successes"].as_u64().unwrap()).sum::<u64>();
        let now = tries(&scene);
        slr_testkit::eventually(PATIENCE, "checks to go on", || tries(&scene) > now + 12);
    }
    let heard = scene.parent().heard();
    assert_eq!(heard.changes.len(), before, "no state changed: {:?}", heard.changes);
    let failures: u64 = scene.show("health").iter().map(|row| row["failures"].as_u64().unwrap()).sum();
    assert_eq!(failures, 0, "{:?}", scene.show("health"));
}

#[test]
fn nothing_is_said_before_it_is_known() {
    let mut scene = Scene::new();
    let _udp = udp_echo(&scene, 53);
    scene.write_config(SERVICES);
    scene.start();
    // The web server never ran: it is down from the first word on, never active.
    scene.await_state(&[WEB4, WEB6], Down);
    scene.await_state(&[DNS4, DNS6], Active);
    let page = scene.get("/metrics");
    for (service, port, state) in [("tcp", 80, "down"), ("udp", 53, "active")] {
        let line = format!(
            "slr_hostd_service_state{{subnet=\"192.0.2.0/24\",service=\"{service}/{port}\",state=\"{state}\"}} 1"
        );
        assert!(page.contains(&line), "no {line} in\n{page}");
    }
    assert!(page.contains("slr_hostd_session{router=\"slr1\",state=\"connected\"} 1"), "{page}");
    assert!(scene.get("/readyz").starts_with("HTTP/1.1 200"));
    let heard = scene.parent().heard();
    assert_eq!(heard.changes.len(), 4, "each service has had one state: {:?}", heard.changes);
    assert_eq!(heard.services.len(), 4);
}
