use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::super::doors::Socket;
use super::super::route::Parameter;
use super::*;
use crate::admin;

const ROUTES: &[Route] = &[
    Route::plain::<Vec<String>>("hosts", "Hosts", |_| Ok(json!("hosts"))),
    Route {
        parameters: &[Parameter { name: "port", what: "a number", is_required: true }],
        request: |query| Ok(json!({ "double": query.required::<u16>("port")? })),
        ..Route::plain::<u32>("double", "A number, twice", |_| Ok(Value::Null))
    },
];
const ASSETS: &[Asset] = &[Asset { path: "/", kind: "text/html; charset=utf-8", body: "<!doctype html>" }];

/// A daemon whose loop answers until the test is over; what it was asked.
fn with_daemon<R: Send + 'static>(test: impl FnOnce(SocketAddr, &std::path::Path) -> R + Send + 'static) -> (R, usize) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run/api.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut calls = admin::serve(folder.path().join("admin.sock")).unwrap();
        let settings = Settings {
            socket: Some(Socket { path: socket.clone(), mode: 0o660 }),
            page: Some("127.0.0.1:0".parse().unwrap()),
            listen: Vec::new(),
        };
        let api = Api::start(&settings, None, ("test", "1"), ROUTES, ASSETS, calls.asker()).unwrap();
        let page = api.places()[1].trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let mut test = tokio::task::spawn_blocking(move || test(page, &socket));
        let mut asked = 0;
        loop {
            tokio::select! {
                result = &mut test => return (result.unwrap(), asked),
                call = calls.next() => {
                    asked += 1;
                    let answer = match &call.request {
                        Value::String(what) => Ok(json!([what])),
                        other => other["double"].as_u64().filter(|n| *n < 100).map(|n| json!(2 * n)).ok_or("too large".to_owned()),
                    };
                    call.answer(answer);
                }
            }
        }
    })
}

/// Asks, and gives status and body.
fn ask(mut stream: impl Read + Write, request: &str, host: &str) -> (u16, String) {
    write!(stream, "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn every_door_gives_the_loops_answers_and_says_what_is_wrong() {
    let (results, _) = with_daemon(|page, socket| {
        let get = |path: &str| ask(TcpStream::connect(page).unwrap(), &format!("GET {path}"), &page.to_string());
        let mode = std::fs::metadata(socket).unwrap().permissions().mode() & 0o777;
        let by_socket = ask(UnixStream::connect(socket).unwrap(), "GET /api/v1/hosts", "anything");
        let paths = [
            "/api/v1/hosts",
            "/api/v1/double?port=21",
            "/api/v1/double?port=x",
            "/api/v1/double?port=500",
            "/api/v1/nothing",
            "/",
        ];
        (mode, by_socket, paths.map(|path| (path, get(path))), get("/api/v1/openapi.json"))
    });
    let (mode, by_socket, answers, document) = results;
    assert_eq!((mode, by_socket), (0o660, (200, r#"["hosts"]"#.to_owned())));
    let expected = [
        (200, r#"["hosts"]"#),
        (200, "42"),
        (400, r#"{"error":"port=x: invalid digit found in string"}"#),
        (503, r#"{"error":"too large"}"#),
        (404, r#"{"error":"under /api/v1/ there are: openapi.json, hosts, double"}"#),
        (200, "<!doctype html>"),
    ];
    for ((path, (status, body)), expected) in answers.iter().zip(expected) {
        assert_eq!((*status, body.as_str()), expected, "{path}");
    }
    let document: Value = serde_json::from_str(&document.1).unwrap();
    assert_eq!(document["paths"]["/api/v1/double"]["get"]["parameters"][0]["name"], "port");
    assert_eq!(
        document["paths"]["/api/v1/hosts"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["type"],
        "array"
    );
}

#[test]
fn nothing_can_be_changed_and_no_other_page_can_ask() {
    let ((posted, elsewhere), asked) = with_daemon(|page, _| {
        let posted = ask(TcpStream::connect(page).unwrap(), "POST /api/v1/hosts", "localhost").0;
        let elsewhere = ask(TcpStream::connect(page).unwrap(), "GET /api/v1/hosts", "evil.example").0;
        (posted, elsewhere)
    });
    assert_eq!((posted, elsewhere, asked), (405, 403, 0));
}

#[test]
fn those_who_ask_at_once_cost_the_loop_one_answer() {
    let (all, asked) = with_daemon(|page, _| {
        let one = move || ask(TcpStream::connect(page).unwrap(), "GET /api/v1/hosts", "localhost").0;
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(all, [200; 8]);
    assert!(asked < 8, "{asked}");
}
