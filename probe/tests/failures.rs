//! Failures injected over loopback: the report has to name each by its cause.

mod support;

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use support::{
    Run, Server,
    faulty::{closed_port, lines, read_head, reset, response, tcp, udp, udp_from_elsewhere},
    run,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Short limits, so that a test of a timeout is short, and long enough for a busy machine to answer within.
const LIMITS: &str = "--timeout 1s --stall-timeout 500ms --interval 5ms";

fn run_at(address: SocketAddr, options: &str) -> Run {
    let (target, port) = (address.ip().to_string(), address.port().to_string());
    let pointed =
        ["--target", &target, "--http-port", &port, "--echo-port", &port, "--udp-port", &port].map(str::to_owned);
    run(&pointed, &format!("{LIMITS} {options}"))
}

#[test]
fn nobody_listens() {
    for address in [V4, V6] {
        let run = run_at(closed_port(address), "--flow http=2 --requests 6");
        run.assert_all_failed("http", "refused", 6);
        assert_eq!(run.number("http", "/exchanges/sent"), 0);
        let run = run_at(closed_port(address), "--flow udp=2 --messages 3");
        run.assert_all_failed("udp", "refused", 2);
        let run = run_at(closed_port(address), "--flow interactive=2");
        run.assert_all_failed("interactive", "refused", 2);
    }
}

#[test]
fn the_server_resets() {
    for address in [V4, V6] {
        let at_request = tcp(address, |_, mut stream| {
            read_head(&mut stream)?;
            reset(stream)
        });
        let run = run_at(at_request, "--flow http=2 --requests 6");
        run.assert_all_failed("http", "reset", 6);
        assert_eq!(run.number("http", "/reset"), 6);

        let inside_body = tcp(address, |_, mut stream| {
            read_head(&mut stream)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")?;
            reset(stream)
        });
        run_at(inside_body, "--flow download=1").assert_all_failed("download", "reset", 1);

        let third_line = tcp(address, |_, stream| {
            let kept = stream.try_clone()?;
            lines(stream, |number, line| (number < 2).then(|| format!("{line}\n")))?;
            reset(kept)
        });
        let run = run_at(third_line, "--flow interactive=3 --messages 10");
        run.assert_all_failed("interactive", "reset", 3);
        assert_eq!(run.number("interactive", "/exchanges/answered"), 6);

        let during_upload = tcp(address, |_, mut stream| {
            read_head(&mut stream)?;
            reset(stream)
        });
        run_at(during_upload, "--flow upload=1 --upload-bytes 100M").assert_all_failed("upload", "reset", 1);
    }
}

#[test]
fn the_server_stalls() {
    let silent = || {
        tcp(V4, |_, mut stream| {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).map(drop)
        })
    };
    for kind in ["http", "keepalive", "download", "interactive"] {
        let run = run_at(silent(), &format!("--flow {kind}=2 --requests 2"));
        run.assert_all_failed(kind, "stalled", 2);
        let gap_us = run.number(kind, "/gap_us/max");
        assert!((500_000..5_000_000).contains(&gap_us), "a stall of 500 ms is a gap, not {gap_us} us");
    }
}

#[test]
fn the_server_dribbles() {
    let dribbling = tcp(V4, |_, mut stream| {
        read_head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
        loop {
            stream.write_all(b"x")?;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    // Bytes keep coming, so it does not stall; the request as a whole takes too long.
    run_at(dribbling, "--flow http=1 --requests 1").assert_all_failed("http", "timeout", 1);
}

#[test]
fn the_server_ends_early() {
    let before_answer = tcp(V6, |_, mut stream| read_head(&mut stream));
    run_at(before_answer, "--flow http=2 --requests 4").assert_all_failed("http", "early-eof", 4);

    let inside_answer = tcp(V6, |_, mut stream| {
        read_head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    });
    let run = run_at(inside_answer, "--flow http=2 --requests 4");
    run.assert_all_failed("http", "short-body", 4);
    assert!(run.kind("http")["examples"][0].as_str().is_some_and(|text| text.contains("after 9 bytes")));

    let swallows = tcp(V6, |_, mut stream| {
        read_head(&mut stream)?;
        let mut body = vec![0; 1_000];
        stream.read_exact(&mut body)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Probe-Received: 999\r\nContent-Length: 0\r\n\r\n")
    });
    run_at(swallows, "--flow upload=1 --upload-bytes 1000").assert_all_failed("upload", "short-body", 1);
}

#[test]
fn the_answer_is_not_the_one_asked_for() {
    let failing = tcp(V4, |_, mut stream| {
        read_head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    });
    run_at(failing, "--flow http=1 --requests 2").assert_all_failed("http", "bad-status", 2);

    let babbling = tcp(V4, |_, mut stream| {
        read_head(&mut stream)?;
        stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n")
    });
    run_at(babbling, "--flow http=1 --requests 2").assert_all_failed("http", "bad-content", 2);

    let corrupting = tcp(V4, |_, mut stream| {
        read_head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Probe-Pattern: mod251\r\nContent-Length: 4\r\n\r\n\0\x01\x02\x02")
    });
    let run = run_at(corrupting, "--flow download=1");
    run.assert_all_failed("download", "bad-content", 1);
    assert!(run.kind("download")["examples"][0].as_str().is_some_and(|text| text.contains("offset 3")));

    let altering = tcp(V4, |_, stream| lines(stream, |_, line| Some(format!("{}!\n", &line[..line.len() - 1]))));
    run_at(altering, "--flow interactive=1").assert_all_failed("interactive", "bad-content", 1);

    let garbling = udp(V4, |_, _| vec![b"what?".to_vec()]);
    run_at(garbling, "--flow udp=1 --messages 3").assert_all_failed("udp", "bad-content", 1);
}

#[test]
fn an_answer_is_missing_from_the_sequence() {
    let skipping = tcp(V4, |_, stream| {
        lines(stream, |number, line| Some(if number == 2 { String::new() } else { format!("{line}\n") }))
    });
    run_at(skipping, "--flow interactive=1").assert_all_failed("interactive", "bad-sequence", 1);

    let restarted = tcp(V4, |_, stream| {
        lines(stream, |number, line| {
            Some(format!("web1/1/00 conn=1 seq={} {line}\n", if number < 3 { number + 1 } else { 1 }))
        })
    });
    run_at(restarted, "--flow interactive=1").assert_all_failed("interactive", "bad-sequence", 1);
}

#[test]
fn another_server_answers_in_the_middle_of_a_flow() {
    let name = |number: u32| if number < 2 { "web1" } else { "web2" };
    let keepalive = tcp(V4, move |_, mut stream| {
        for number in 0.. {
            read_head(&mut stream)?;
            stream.write_all(&response(name(number), "hello"))?;
        }
        Ok(())
    });
    let run = run_at(keepalive, "--flow keepalive=1 --requests 3");
    run.assert_all_failed("keepalive", "wrong-server", 1);
    assert_eq!(run.number("keepalive", "/changed_server"), 1);
    let names: Vec<_> =
        run.kind("keepalive")["servers"].as_array().expect("a list").iter().map(|s| &s["server"]).collect();
    assert_eq!(names, ["web1", "web2"]);

    let echo = tcp(V6, move |_, stream| lines(stream, |number, line| Some(format!("{} {line}\n", name(number)))));
    let run = run_at(echo, "--flow interactive=2 --messages 9");
    run.assert_all_failed("interactive", "wrong-server", 2);
    assert_eq!(run.number("interactive", "/changed_server"), 2);

    let datagrams = udp(V6, move |number, message| vec![[name(number).as_bytes(), b" ", message].concat()]);
    let run = run_at(datagrams, "--flow udp=1 --messages 9");
    run.assert_all_failed("udp", "wrong-server", 1);
    assert_eq!(run.number("udp", "/changed_server"), 1);
    assert_eq!(run.number("udp", "/exchanges/answered"), 9, "a UDP flow goes on to its end");
}

#[test]
fn another_server_than_expected_answers() {
    let server = Server::start("web1", &[]);
    let run_expecting = |name: &str| {
        run(&server.options(false), &format!("--flow http=2 --requests 4 --expect-server {name} --flow udp=1"))
    };
    assert_eq!(run_expecting("web1/").status, 0);
    let run = run_expecting("web2/");
    run.assert_all_failed("http", "wrong-server", 4);
    run.assert_all_failed("udp", "wrong-server", 1);
    assert_eq!(run.number("http", "/changed_server"), 0);
}

#[test]
fn datagrams_go_astray() {
    for address in [V4, V6] {
        let run = run_at(udp_from_elsewhere(address), "--flow udp=2 --messages 4");
        run.assert_all_failed("udp", "wrong-source", 2);
        assert_eq!(run.number("udp", "/exchanges/wrong_source"), 8);
        assert_eq!(run.number("udp", "/exchanges/lost"), 0);

        let losing = |number, message: &[u8]| if number % 5 == 4 { vec![] } else { vec![message.to_vec()] };
        let run = run_at(udp(address, losing), "--flow udp=1 --messages 20");
        run.assert_all_failed("udp", "lost", 1);
        assert_eq!((run.number("udp", "/exchanges/lost"), run.number("udp", "/exchanges/answered")), (4, 16));
        let run = run_at(udp(address, losing), "--flow udp=1 --messages 20 --udp-loss-ok 20");
        assert_eq!(run.status, 0, "{}", run.report);

        let doubling = udp(address, |_, message| vec![message.to_vec(), message.to_vec()]);
        let run = run_at(doubling, "--flow udp=1 --messages 10");
        assert_eq!(run.status, 0, "{}", run.report);
        // The flow ends with the last message's first answer; its copy may be left unread.
        assert!((9..=10).contains(&run.number("udp", "/exchanges/duplicate")), "{}", run.report);
    }
}

#[test]
fn a_message_larger_than_a_datagram_is_too_big() {
    let echo = udp(V4, |_, message| vec![message.to_vec()]);
    let run = run_at(echo, "--flow udp=1 --messages 2 --message-bytes 65535 --udp-df");
    run.assert_all_failed("udp", "too-big", 1);
    assert_eq!(run.number("udp", "/exchanges/answered"), 0);
}

#[test]
fn a_foreign_servers_name_comes_from_the_body_when_asked_for() {
    let nginx_like = tcp(V4, |number, mut stream| {
        read_head(&mut stream)?;
        let body = format!("host{}\n<html>", number % 2);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    });
    let named = |options: &str| -> Vec<String> {
        let run = run_at(nginx_like, &format!("--flow http=1 --requests 4 {options}"));
        assert_eq!(run.status, 0, "{}", run.report);
        let servers = run.kind("http")["servers"].as_array().expect("a list").iter();
        servers.map(|server| server["server"].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(named(""), ["(unnamed)"]);
    assert_eq!(named("--identity-body"), ["host0", "host1"]);
}
