//! The single-namespace guard: what runs inside sees that namespace only, and nothing is left of it.

use slr_testkit::netns::NetNs;
use slr_testkit::{eventually, require_root};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

fn own_namespace() -> std::path::PathBuf {
    std::fs::read_link("/proc/thread-self/ns/net").unwrap()
}

#[test]
fn a_closure_runs_inside_and_the_caller_stays_outside() {
    require_root();
    let before = own_namespace();
    let ns = NetNs::new().unwrap();
    let inside = ns.with(own_namespace);
    assert_ne!(inside, before);
    assert_eq!(own_namespace(), before);
    assert_eq!(ns.with(own_namespace), inside, "the same namespace every time");
}

#[test]
fn two_namespaces_may_bind_the_same_port_and_loopback_works_at_once() {
    require_root();
    let (a, b) = (NetNs::new().unwrap(), NetNs::new().unwrap());
    let bind = || TcpListener::bind("[::1]:80").unwrap();
    let (_first, _second) = (a.with(bind), b.with(bind));
    a.with(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
    });
}

#[test]
fn commands_run_inside_and_keep_the_mounts() {
    require_root();
    let ns = NetNs::new().unwrap();
    ns.ip_batch("link add va type veth peer name vb\nlink set va up").unwrap();
    let output = ns.command("ip").args(["-brief", "link"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("va@vb"));
    let mounts = ns.command("readlink").arg("/proc/self/ns/mnt").output().unwrap().stdout;
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(String::from_utf8_lossy(&mounts).trim(), own.to_str().unwrap());
}

#[test]
fn a_failing_line_of_a_batch_is_named() {
    require_root();
    let ns = NetNs::new().unwrap();
    let error = ns.ip_batch("link set lo up\nlink set nosuch up\nlink set lo down").unwrap_err().to_string();
    assert!(error.contains("link set nosuch up") && error.contains("nosuch\""), "{error}");
}

#[test]
fn a_panic_inside_reaches_the_caller() {
    require_root();
    let ns = NetNs::new().unwrap();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ns.with(|| panic!("inside")))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"));
}

#[test]
fn the_namespace_is_deleted_with_its_last_handle() {
    require_root();
    let (outer, inner) = (NetNs::new().unwrap(), NetNs::new().unwrap());
    // A veth end dies with the namespace of its peer, which makes the deletion visible from outside.
    outer.ip("link add va type veth peer name vb").unwrap();
    let holder = inner.command("sleep").arg("60").spawn().unwrap();
    outer.ip(&format!("link set vb netns {}", holder.id())).unwrap();
    let has_va = || outer.command("ip").args(["link", "show", "va"]).output().unwrap().status.success();
    assert!(has_va());
    let mut holder = holder;
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(has_va(), "the handle alone keeps the namespace");
    drop(inner);
    eventually(Duration::from_secs(5), "the peer to go with its namespace", || !has_va());
}
