//! A flow followed through two tiers of SLRs down to its host by one command; who may read the API and who may not; answers that are as
//! the OpenAPI document says; and `top`.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use slr_testkit::{holds_within, require_root};
use xtask::load::start_servers;
use xtask::openapi;
use xtask::pair::{Kind, Pair, PairOptions};
use xtask::tiers::{AS, HOSTS, SITES, Tiers, VIRTUAL};
use xtask::traffic;

const SOON: Duration = Duration::from_secs(20);

/// A router's trace of a flow, with everybody that was asked.
fn follow(tiers: &Tiers, flow: [&str; 3]) -> Value {
    let config = tiers.lab().dir().join(format!("{AS}.toml"));
    let words = ["trace", flow[0], flow[1], flow[2], "--json", "--config", config.to_str().unwrap()];
    serde_json::from_str(&tiers.tell(AS, &words).unwrap()).unwrap()
}

fn asked(followed: &Value) -> &[Value] {
    followed["asked"].as_array().unwrap()
}

#[test]
fn a_flow_is_followed_through_both_tiers_to_the_socket_that_has_it() {
    require_root();
    let tiers = Tiers::up("follow").unwrap();
    for target in VIRTUAL {
        let words = format!("--target {target} --flow keepalive=1 --duration 60s --interval 100ms");
        let running = traffic::start(tiers.lab(), "c1", &words).unwrap();
        let client = || -> Option<SocketAddr> {
            let sockets = tiers.lab().sh("c1", "ss -Htn state established").unwrap();
            let line = sockets
                .lines()
                .find(|line| line.contains(&format!("{target}]:80")) || line.contains(&format!("{target}:80")))?;
            line.split_whitespace().nth(2)?.parse().ok()
        };
        assert!(holds_within(SOON, || client().is_some()), "a connection to {target}");
        let (client, virtual_host) =
            (client().unwrap().to_string(), SocketAddr::new(target.parse().unwrap(), 80).to_string());
        let flow = [client.as_str(), virtual_host.as_str(), "tcp"];
        let is_pinned = || follow(&tiers, flow)["known"]["pinned"] == true;
        assert!(holds_within(SOON, is_pinned), "{:#}", follow(&tiers, flow));
        let followed = follow(&tiers, flow);
        let [site, host] = asked(&followed) else { panic!("one site's SLR and one host: {followed:#}") };
        assert!(SITES.contains(&site["name"].as_str().unwrap()) && site["by"] == AS, "{site:#}");
        assert_eq!(site["answer"]["router"]["known"]["host"], host["name"], "{followed:#}");
        assert!(HOSTS.contains(&host["name"].as_str().unwrap()) && host["by"] == site["name"], "{host:#}");
        assert_eq!(host["answer"]["host"]["socket"], "connected", "{host:#}");
        assert_eq!(host["answer"]["host"]["service"]["state"], "active", "{host:#}");

        // A connection that nobody has: its later packets find a listener alone.
        let port = if client.ends_with(":1") { 2 } else { 1 };
        let stranger = SocketAddr::new(client.parse::<SocketAddr>().unwrap().ip(), port).to_string();
        let followed = follow(&tiers, [&stranger, &virtual_host, "tcp"]);
        let hosts: Vec<_> = asked(&followed).iter().filter(|asked| asked["role"] == "host").collect();
        assert!(!hosts.is_empty(), "{followed:#}");
        assert!(hosts.iter().all(|host| host["answer"]["host"]["socket"] == "listening"), "{followed:#}");
        // One that no host serves ends here, with what helps.
        let unserved = SocketAddr::new(target.parse().unwrap(), 4_444).to_string();
        let followed = follow(&tiers, [&stranger, &unserved, "udp"]);
        assert!(asked(&followed).is_empty() && followed["first"]["verdict"] == "drop", "{followed:#}");
        assert!(followed["first"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{followed:#}");

        // One that cannot be asked is named, and why.
        let host = host["name"].as_str().unwrap();
        let filter = "nft add table inet f && nft add chain inet f in '{ type filter hook input priority 0; }' && \
                      nft add rule inet f in tcp dport 6102 drop";
        tiers.lab().sh(host, filter).unwrap();
        let followed = follow(&tiers, flow);
        let last = asked(&followed).last().unwrap();
        assert!(last["problem"].as_str().is_some_and(|why| why.contains("within 3 s")), "{last:#}");
        tiers.lab().sh(host, "nft delete table inet f").unwrap();
        let (text, _) = (tiers.tell(AS, &["trace", flow[0], flow[1], "--here"]).unwrap(), drop(running));
        assert!(text.contains("pinned") && !text.contains("site "), "{text}");
    }
}

/// What curl says to a question over HTTPS with a node's certificate, from another node.
fn https(pair: &Pair, from: &str, certificate: Option<&str>, path: &str) -> (bool, String) {
    let files = certificate.map(|node| {
        let files = pair.files(node);
        format!("--cert {} --key {}", files.certificate.display(), files.key.display())
    });
    let words =
        format!("curl --silent --show-error --insecure --max-time 5 {} 'https://{path}'", files.unwrap_or_default());
    let output = pair.lab().exec(from, &["sh", "-c", &words]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn routers_may_read_over_https_and_nobody_else() {
    require_root();
    let api = format!(
        "\n[api]\nsocket = \"slr1-api.sock\"\nsocket_mode = 0o600\npage = \"127.0.0.1:9480\"\nlisten = {:?}\n",
        ["10.1.1.2:6102"]
    );
    let options = PairOptions { tables: [("slr1".to_owned(), api)].into(), ..PairOptions::new(Kind::Spare) };
    let pair = Pair::up("api", options).unwrap();
    start_servers(pair.lab()).unwrap();
    let (slr, host) = ("10.1.1.2:6102/api/v1/overview", "10.1.11.2:6102/api/v1/services");
    let (let_in, said) = https(&pair, "slr2", Some("slr2"), slr);
    assert!(let_in && said.contains("\"hosts\""), "a router reads a router: {said}");
    let (let_in, said) = https(&pair, "slr1", Some("slr1"), host);
    assert!(let_in && said.contains("active"), "a router reads a host: {said}");
    for (port, protocol, expected) in
        [(4_444, "udp", "nobody"), (4_444, "tcp", "nobody"), (7, "udp", "listening"), (80, "tcp", "listening")]
    {
        let path =
            format!("10.1.11.2:6102/api/v1/trace?client=10.0.1.2:9&virtual_host=192.0.2.10:{port}&protocol={protocol}");
        let (let_in, said) = https(&pair, "slr1", Some("slr1"), &path);
        assert!(let_in && said.contains(&format!("\"socket\":\"{expected}\"")), "{port} {protocol}: {said}");
    }
    for (certificate, what) in [(Some("h1"), "a host's certificate"), (None, "no certificate")] {
        for path in [slr, host] {
            let (let_in, said) = https(&pair, "h2", certificate, path);
            assert!(!let_in, "{what} is enough for {path}: {said}");
        }
    }
    // All that can be read is as the document says; on the local doors.
    let socket = pair.lab().dir().join("slr1-api.sock");
    let get = |path: &str| -> Value {
        let words = format!("curl --silent --fail-with-body --unix-socket {} 'http://x{path}'", socket.display());
        let output = pair.lab().sh("slr1", &words).unwrap();
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{path}: {error}: {output}"))
    };
    let document = get("/api/v1/openapi.json");
    let mut checked = 0;
    for path in document["paths"].as_object().unwrap().keys() {
        let query = if path.ends_with("/trace") { "?client=10.0.0.1:1&virtual_host=192.0.2.10:80" } else { "" };
        let answer = get(&format!("{path}{query}"));
        let problems = openapi::problems(&document, path, &answer);
        assert!(problems.is_empty(), "{problems:?}");
        checked += 1;
    }
    assert!(checked >= 16, "{checked} answers were checked");
    let page = pair.lab().sh("slr1", "curl --silent --fail --head http://127.0.0.1:9480/").unwrap();
    assert!(page.contains("content-security-policy: default-src 'self'"), "{page}");

    let text = pair.tell("slr1", &["top", "--once"]).unwrap();
    for expected in ["slr1, site router", "3 of 3 hosts active", "192.0.2.0/24", "slr2 (peer)"] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
}
