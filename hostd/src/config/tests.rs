//! The shipped example and what is refused.

use super::*;

const EXAMPLE: &str = include_str!("../../etc/hostd.toml");
const UNIT: &str = include_str!("../../etc/hostd.service");

const GOOD: &str = r#"
[host]
name = "h1"
[tunnel]
addresses = ["10.1.11.2", "fd00:1:11::2"]
[dataplane]
interfaces = ["eth0"]
[[router]]
name = "slr1"
prefixes = ["10.1.255.0/24", "fd00:1:ff::/64"]
[[site_host]]
name = "h2"
addresses = ["10.1.12.2"]
[[subnet]]
name = "web4"
prefix = "192.0.2.0/24"
[[subnet]]
name = "web6"
prefix = "2001:db8:100::/48"
[[subnet]]
name = "dns"
prefix = "198.51.100.0/24"
interface = "slr-dns"
"#;

#[test]
fn the_shipped_example_is_a_configuration() {
    let settings = Settings::parse("hostd.toml", EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    assert!(settings.tunnel_v4.is_some() && settings.tunnel_v6.is_some());
    assert!(settings.subnets.len() > 1 && settings.services.len() == 3 && settings.checks().len() == 3);
    assert_eq!(settings.sources.len(), 5, "one of each kind");
    assert_eq!(settings.control.unwrap().parents.len(), 2);
}

#[test]
fn the_unit_runs_what_the_command_line_takes() {
    let field = |name: &str| {
        let prefix = format!("{name}=");
        UNIT.lines().find_map(|line| line.strip_prefix(&*prefix)).unwrap_or_else(|| panic!("no {name} in the unit"))
    };
    use clap::Parser;
    for name in ["ExecStart", "ExecStartPre"] {
        let words = field(name).split_whitespace().skip(1);
        crate::cli::Cli::try_parse_from(std::iter::once("hostd").chain(words))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert_eq!(field("Type"), "notify");
    assert_eq!(field("ExecReload"), "/usr/local/sbin/hostd reload");
    assert_eq!(Path::new("/var/lib").join(field("StateDirectory")), Path::new(DEFAULT_STATE_DIR));
    let stop_s: u64 = field("TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    let drain = Settings::parse("x", GOOD).unwrap().drain;
    assert!(stop_s > drain.on_stop.as_secs() + 5, "systemd waits until the drain is over");
    assert_eq!(field("RuntimeDirectoryPreserve"), "yes", "sysctls to restore are remembered there");
    assert!(DEFAULT_SOCKET.starts_with(&format!("/run/{}/", field("RuntimeDirectory"))));
}

#[test]
fn subnets_are_grouped_by_interface() {
    let settings = Settings::parse("x", GOOD).unwrap_or_else(|error| panic!("{error}"));
    let prefixes = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<VirtualSubnet>>();
    let expected = BTreeMap::from([
        ("slr-0".to_owned(), prefixes(&["192.0.2.0/24", "2001:db8:100::/48"])),
        ("slr-dns".to_owned(), prefixes(&["198.51.100.0/24"])),
    ]);
    assert_eq!(settings.groups(), expected);
    assert_eq!(settings.chain_headers, 4);
}

#[test]
fn each_mistake_is_refused_with_its_line() {
    let table = [
        ("\"10.1.11.2\", \"fd00:1:11::2\"", "", "no tunnel address"),
        ("\"fd00:1:11::2\"", "\"10.1.11.3\"", "a second tunnel address"),
        ("10.1.11.2", "224.0.0.1", "no address that a tunnel can end at"),
        ("10.1.11.2", "192.0.2.7", "lies in virtual subnet"),
        ("[\"eth0\"]", "[]", "no interface"),
        ("[\"eth0\"]", "[\"eth0\", \"eth0\"]", "interface given twice"),
        ("[\"eth0\"]", "[\"a/b\"]", "is no interface name"),
        ("interface = \"slr-dns\"", "interface = \"eth0\"", "one at which tunnels arrive"),
        ("interface = \"slr-dns\"", "interfaces = \"x\"", "unknown field"),
        ("\"dns\"", "\"web4\"", "subnet name given twice"),
        ("198.51.100.0/24", "192.0.2.128/25", "overlaps"),
        ("198.51.100.0/24", "198.51.100.1/24", "bits set behind its prefix"),
        ("10.1.255.0/24", "10.1.255.1/24", "no prefix that a router sends from"),
        ("[\"10.1.12.2\"]", "[]", "no address"),
        ("[dataplane]", "path_mtu = 1000\n[dataplane]", "below what IPv6 asks"),
        ("[dataplane]", "chain_headers = 5\n[dataplane]", "not a chain's length"),
        ("[dataplane]", "[dataplane]\npin_path = \"sys\"", "not an absolute path"),
    ];
    for (from, to, message) in table {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let error = Settings::parse("x.toml", &text).expect_err(message).to_string();
        assert!(error.contains(message) && error.contains("x.toml:"), "{to:?} gave:\n{error}");
    }
}

const CONTROLLED: &str = r#"
[host]
name = "h1"
load = "max(cpu, 0.5 * queue)"
[tunnel]
addresses = ["10.1.11.2"]
[dataplane]
interfaces = ["eth0"]
[control]
ca = "ca.pem"
certificate = "/etc/ssl/h1.pem"
key = "h1.key"
[[parent]]
name = "slr1"
addresses = ["10.1.0.1:6100", "[fd00:1::1]:6100"]
[[subnet]]
name = "web"
prefix = "192.0.2.0/24"
[[subnet]]
name = "dns"
prefix = "2001:db8:100::/48"
[[subnet]]
name = "rest"
prefix = "198.51.100.0/24"
[[service]]
subnet = "web"
service = "tcp/80"
weight = 50
load = "max(cpu, flows / 1000)"
check = { kind = "http", path = "/health", status = [200, 204] }
[[service]]
subnet = "dns"
service = "udp/53"
[service.check]
kind = "udp"
address = "2001:db8:100::35"
send_hex = "00 ff"
expect = "ok"
interval_ms = 1000
[[load]]
name = "cpu"
source = "cpu"
cgroup = "/sys/fs/cgroup/web"
cpus = 0.5
[[load]]
name = "queue"
source = "http"
url = "http://localhost:8080/status?all"
pointer = "/queue"
[[load]]
name = "waiting"
source = "pressure"
resource = "memory"
share = "full"
[[load]]
name = "jobs"
source = "command"
command = ["/usr/bin/jobs", "--count"]
stale_after_ms = 60000
[[load]]
name = "connections"
source = "connections"
"#;

fn controlled() -> Settings {
    Settings::parse("x", CONTROLLED).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_host_says_what_it_serves_to_whom_and_as_whom() {
    let settings = controlled();
    let control = settings.control.as_ref().unwrap();
    assert_eq!(control.ca, PathBuf::from("/etc/hostd/ca.pem"), "beside the configuration");
    assert_eq!(control.certificate, PathBuf::from("/etc/ssl/h1.pem"));
    assert_eq!((control.crl.as_ref(), control.state_dir.as_path()), (None, Path::new(DEFAULT_STATE_DIR)));
    assert_eq!((control.parents[0].name.as_str(), control.parents[0].addresses.len()), ("slr1", 2));
    assert_eq!(
        (settings.drain.on_stop, settings.drain.settle),
        (Duration::from_secs(30), Duration::from_millis(1_500))
    );
    assert_eq!(settings.metrics, Some("127.0.0.1:9402".parse().unwrap()));
    let keys: Vec<String> = settings.services.iter().map(|served| served.key.to_string()).collect();
    assert_eq!(keys, ["tcp/80@192.0.2.0/24", "udp/53@2001:db8:100::/48", "any@198.51.100.0/24"]);
    assert_eq!(settings.services[0].weight.get(), 50);
    assert_eq!(settings.checks().len(), 2);
}

#[test]
fn checks_have_what_is_written_and_defaults_that_find_a_frozen_server_in_time() {
    use crate::health::Kind;
    let settings = controlled();
    let http = settings.services[0].check.as_ref().unwrap();
    let kind = Kind::Http { port: 80, host: None, path: "/health".to_owned(), status: vec![200, 204] };
    assert_eq!((&http.kind, http.address), (&kind, "192.0.2.1".parse().unwrap()));
    // The worst case: it freezes right after a success, and each try runs into its timeout.
    let worst = http.interval + http.timeout * http.fall;
    assert!(worst <= Duration::from_millis(1_200), "{worst:?} leaves too little of 1.5 s for adverts and rings");
    let udp = settings.services[1].check.as_ref().unwrap();
    let kind = Kind::Udp { port: 53, send: vec![0, 255], expect: b"ok".to_vec() };
    assert_eq!((&udp.kind, udp.address), (&kind, "2001:db8:100::35".parse().unwrap()));
    assert_eq!((udp.interval, udp.rise, udp.fall), (Duration::from_secs(1), 2, 3));
}

#[test]
fn loads_have_sources_and_expressions() {
    use crate::load::Kind;
    let settings = controlled();
    let names: Vec<&str> = settings.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["cpu", "queue", "waiting", "jobs", "connections"]);
    assert_eq!(settings.sources[0].kind, Kind::Cpu { cgroup: Some("/sys/fs/cgroup/web".into()), cpus: Some(0.5) });
    let Kind::Http { get, pointer } = &settings.sources[1].kind else { panic!("{:?}", settings.sources[1]) };
    assert_eq!((get.to, &*get.host, &*get.path), ("127.0.0.1:8080".parse().unwrap(), "localhost:8080", "/status?all"));
    assert_eq!(pointer.as_deref(), Some("/queue"));
    assert_eq!(settings.sources[3].stale_after, Duration::from_secs(60));
    assert_eq!(settings.formulas.host.as_ref().unwrap().source(), "max(cpu, 0.5 * queue)");
    assert_eq!(settings.formulas.services.len(), 1);
}

#[test]
fn a_host_that_says_nothing_of_loads_is_measured_by_its_cpu() {
    let settings = Settings::parse("x", GOOD).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((settings.sources.len(), settings.sources[0].name.as_str()), (1, "cpu"));
    assert_eq!(settings.formulas.host.unwrap().source(), "cpu");
    assert!(settings.control.is_none());
    assert_eq!(settings.services.len(), 3, "each subnet as a whole");
}

#[test]
fn each_mistake_of_the_control_plane_is_refused_with_its_line() {
    let table = [
        (
            "[control]\nca = \"ca.pem\"\ncertificate = \"/etc/ssl/h1.pem\"\nkey = \"h1.key\"\n",
            "",
            "there is no [control]",
        ),
        (
            "[[parent]]\nname = \"slr1\"\naddresses = [\"10.1.0.1:6100\", \"[fd00:1::1]:6100\"]\n",
            "",
            "no parent to register with",
        ),
        ("[\"10.1.0.1:6100\", \"[fd00:1::1]:6100\"]", "[]", "no address"),
        ("\"10.1.0.1:6100\"", "\"10.1.0.1\"", "invalid socket address"),
        ("subnet = \"dns\"", "subnet = \"mail\"", "no subnet is called \"mail\""),
        ("subnet = \"dns\"\nservice = \"udp/53\"", "subnet = \"web\"\nservice = \"tcp/80\"", "is given twice"),
        ("weight = 50", "weight = 5000", "not a weight"),
        ("service = \"tcp/80\"\n", "", "which port is checked?"),
        ("service = \"tcp/80\"", "service = \"udp/80\"", "cannot speak to that service"),
        ("path = \"/health\"", "path = \"health\"", "is no path"),
        ("path = \"/health\"", "host = \"a b\"", "is no host"),
        ("status = [200, 204]", "status = [20]", "not a list of HTTP statuses"),
        ("status = [200, 204]", "send = \"x\"", "send means nothing here"),
        ("status = [200, 204]", "rise = 0", "rise is 0"),
        ("status = [200, 204]", "interval_ms = 10", "interval_ms is 10"),
        ("\"2001:db8:100::35\"", "\"192.0.2.1\"", "192.0.2.1 is not in 2001:db8:100::/48"),
        ("\"00 ff\"", "\"00 f\"", "not bytes"),
        ("expect = \"ok\"", "expect = \"ok\"\nexpect_hex = \"00\"", "expect is given twice"),
        ("kind = \"udp\"", "kind = \"command\"", "no command"),
        ("\"max(cpu, 0.5 * queue)\"", "\"max(cpu, 0.5 * que)\"", "que"),
        ("load = \"max(cpu, 0.5 * queue)\"\n", "", "several load values and no expression"),
        ("flows / 1000", "flows > 1", "flows > 1"),
        ("name = \"jobs\"", "name = \"cpu\"", "load value given twice"),
        ("name = \"jobs\"", "name = \"load\"", "load is not for a source"),
        ("cgroup = \"/sys/fs/cgroup/web\"", "cgroup = \"web\"", "not an absolute path"),
        ("cpus = 0.5", "cpus = 0", "not a number of CPUs"),
        ("cpus = 0.5", "pointer = \"/x\"", "pointer means nothing here"),
        ("http://localhost:8080", "https://localhost:8080", "no URL that can be asked"),
        ("http://localhost:8080", "http://app.example:8080", "no URL that can be asked"),
        ("pointer = \"/queue\"", "pointer = \"queue\"", "not a JSON pointer"),
        ("resource = \"memory\"\n", "", "no resource"),
        ("resource = \"memory\"", "resource = \"net\"", "unknown variant"),
        ("[\"/usr/bin/jobs\", \"--count\"]", "[\"jobs\"]", "not a command"),
        ("[control]", "[drain]\non_stop_s = 100000\n[control]", "on_stop_s is 100000"),
        ("[control]", "[metrics]\nlisten = \"here\"\n[control]", "no address to serve metrics at"),
    ];
    for (from, to, message) in table {
        assert!(CONTROLLED.contains(from), "{from}");
        let text = CONTROLLED.replacen(from, to, 1);
        let error = Settings::parse("x.toml", &text).expect_err(message).to_string();
        assert!(error.contains(message) && error.contains("x.toml:"), "{to:?} gave:\n{error}");
    }
}

#[test]
fn checks_that_would_cost_too_much_are_refused() {
    let service =
        |port| format!("[[service]]\nsubnet = \"web4\"\nservice = \"tcp/{port}\"\ncheck = {{ kind = \"tcp\" }}\n");
    let with = |count: u16| GOOD.to_owned() + &(1..=count).map(service).collect::<String>();
    assert!(Settings::parse("x", &with(125)).is_ok(), "500 checks a second");
    let error = Settings::parse("x", &with(130)).unwrap_err().to_string();
    assert_eq!(error.matches("more than 500 a second").count(), 1, "{error}");
}

#[test]
fn stalls_have_a_floor_of_each_subnet_and_echoes_their_rates() {
    let settings = Settings::parse("x", GOOD).unwrap();
    assert!(settings.subnets.iter().all(|subnet| subnet.stall == DEFAULT_STALL));
    let rates = Rates { per_client: DEFAULT_ECHOES_PER_CLIENT, per_host: DEFAULT_ECHOES_PER_HOST };
    assert_eq!(settings.echoes, rates);
    let text = GOOD.replacen("prefix = \"192", "stall_ms = 0\nprefix = \"192", 1) + "[echo]\nper_client_s = 7\n";
    let settings = Settings::parse("x", &text).unwrap();
    assert_eq!((settings.subnets[0].stall, settings.subnets[1].stall), (Duration::ZERO, DEFAULT_STALL));
    assert_eq!(settings.echoes, Rates { per_client: 7, ..rates });
    for (from, to, message) in [
        ("prefix = \"192", "stall_ms = 100000\nprefix = \"192", "stall_ms is 100000"),
        ("[[router]]", "[echo]\nper_client_s = 0\n[[router]]", "per_client_s is 0"),
        ("[[router]]", "[echo]\nper_host_s = 1000000\n[[router]]", "per_host_s is 1000000"),
    ] {
        let error = Settings::parse("x.toml", &GOOD.replacen(from, to, 1)).expect_err(message).to_string();
        assert!(error.contains(message), "{to:?} gave:\n{error}");
    }
}
