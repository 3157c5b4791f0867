//! Links narrower than the rest, with and without the ICMP errors that tell of them.
//!
//! Tunnels of IPv6 over a link of [`NARROW`] bytes leave 1,280 bytes for a client's datagram, of IPv4 1,300. hostd's clamp
//! leaves room for a chain of four headers, so at a link of 1,500 bytes clients send up to 1,340: that does not fit, and
//! each cell of the matrix says who finds out.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use std::{fs, iter};

use slr_testkit::lab::Lab;
use slr_testkit::{eventually, require_root};
use xtask::site::{HOSTS, Site, SiteOptions, VIRTUAL};
use xtask::traffic::{self, Report};
use xtask::watch::Watch;

const NARROW: u16 = 1_320;
const USUAL: u16 = 1_500;
const PATIENCE: Duration = Duration::from_secs(10);
/// What an upload carries, in bytes.
const UPLOAD_BYTES: u64 = 100_000_000;
/// UDP and IP headers, by family.
const HEADERS: [u16; 2] = [28, 48];
const ECHO_PORT: u16 = 7;

/// Where the narrow link is.
#[derive(Clone, Copy, Debug)]
enum Place {
    BeforeHosts,
    BehindSlr,
}

impl Place {
    fn narrow(self, lab: &Lab) {
        match self {
            Self::BeforeHosts => HOSTS.iter().for_each(|host| lab.set_mtu("site", host, NARROW).unwrap()),
            Self::BehindSlr => lab.set_mtu("slr1", "site", NARROW).unwrap(),
        }
    }
}

fn site(prefix: &str, options: SiteOptions, place: Place) -> Site {
    let site = Site::up(prefix, options).unwrap();
    place.narrow(site.lab());
    site
}

/// hostd took over what its link, or its configuration, says.
fn await_clamp(site: &Site, path_mtu: u16) {
    let due = path_mtu - 4 * 40 - 20 - 20;
    eventually(PATIENCE, &format!("every hostd to clamp to {due}"), || {
        HOSTS.iter().all(|host| site.show_host(host, "interfaces").unwrap()[0]["mss_v4"] == due)
    });
}

/// Drops ICMP errors at both ordinary routers, whoever sends them.
fn block_icmp_errors(lab: &Lab) {
    let hooks = ["forward", "output"].map(|hook| {
        format!(
            "chain {hook} {{ type filter hook {hook} priority 0;
                icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} counter name errors drop
                icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} counter name errors drop
            }}"
        )
    });
    for node in ["internet", "site"] {
        let table = format!("table inet wall {{\ncounter errors {{}}\n{}\n}}", hooks.join("\n"));
        lab.sh(node, &format!("echo '{table}' | nft --file -")).unwrap();
    }
}

fn blocked(lab: &Lab) -> bool {
    !lab.sh("site", "nft list counter inet wall errors").unwrap().contains("packets 0 ")
}

/// 100 MB up and down at once, in both families.
fn transfer(site: &Site, what: &str) {
    let begin = Instant::now();
    let words = format!(
        "--target {} --target {} --flow upload=2 --upload-path /upload/mtu --upload-bytes {UPLOAD_BYTES} \
         --flow download=2 --download-path /bytes/100M",
        VIRTUAL[0], VIRTUAL[1]
    );
    let report = traffic::run(site.lab(), "c1", &words).unwrap();
    report.assert_clean(what);
    assert_eq!(report.total("completed"), 4, "{what}");
    for kind in report.kinds() {
        let bytes = kind["bytes_sent"].as_u64().unwrap() + kind["bytes_received"].as_u64().unwrap();
        assert!(bytes >= UPLOAD_BYTES, "{what}: {kind}");
    }
    println!("{what}: 4 transfers of 100 MB in {:.1} s", begin.elapsed().as_secs_f64());
    let uploads = HOSTS.map(|host| site.lab().service_dir(host, "nginx").join("upload/mtu"));
    let uploads: Vec<_> = uploads.iter().filter(|path| path.exists()).collect();
    assert!(!uploads.is_empty(), "{what}: nobody has the uploads");
    for path in uploads {
        assert_eq!(fs::metadata(path).unwrap().len(), UPLOAD_BYTES, "{what}: {}", path.display());
        fs::remove_file(path).unwrap();
    }
}

/// A client that sends DF datagrams as long as it believes the path to be, as UDP sockets do by themselves.
struct Client<'a> {
    lab: &'a Lab,
    socket: UdpSocket,
    to: SocketAddr,
    headers: u16,
}

impl<'a> Client<'a> {
    fn new(lab: &'a Lab, family: usize) -> Self {
        let any = ["0.0.0.0:0", "[::]:0"][family];
        let socket = lab.with_netns("c1", || UdpSocket::bind(any).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        Self { lab, socket, to: SocketAddr::new(VIRTUAL[family].parse().unwrap(), ECHO_PORT), headers: HEADERS[family] }
    }

    /// What the client's kernel believes.
    fn path_mtu(&self) -> u16 {
        cached_mtu(self.lab, "c1", &self.to.ip().to_string()).unwrap_or(USUAL)
    }

    /// Send an IP datagram of that size.
    fn send(&self, bytes: u16) {
        self.socket.send_to(&vec![b'x'; usize::from(bytes - self.headers)], self.to).unwrap();
    }

    /// Does a datagram of that size come back?
    fn echoes(&self, bytes: u16) -> bool {
        self.send(bytes);
        let mut buffer = [0; 2_000];
        self.socket
            .recv_from(&mut buffer)
            .is_ok_and(|(len, from)| len == usize::from(bytes - self.headers) && from == self.to)
    }
}

/// A route's MTU as a node's kernel has learned it.
fn cached_mtu(lab: &Lab, node: &str, to: &str) -> Option<u16> {
    let route = lab.sh(node, &format!("ip route get {to}")).unwrap();
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).and_then(|mtu| mtu.parse().ok())
}

/// Full-size DF datagrams draw messages until the client knows how much fits, exactly; that much then passes.
fn assert_message(site: &Site, due: u16) {
    let lab = site.lab();
    let rules = [
        ("due", format!("icmp type destination-unreachable icmp code frag-needed icmp mtu {due}")),
        ("due", format!("icmpv6 type packet-too-big icmpv6 mtu {due}")),
        ("less", format!("icmp type destination-unreachable icmp code frag-needed icmp mtu < {due}")),
        ("less", format!("icmpv6 type packet-too-big icmpv6 mtu < {due}")),
    ];
    let watch = Watch::start(lab, "c1", &rules).unwrap();
    lab.sh("c1", "ip route flush cache; ip -6 route flush cache").unwrap();
    for family in [0, 1] {
        let client = Client::new(lab, family);
        let before = watch.packets("due").unwrap();
        assert_eq!(client.path_mtu(), USUAL, "nothing is known yet");
        eventually(PATIENCE, &format!("a message that {due} bytes fit, at {}", VIRTUAL[family]), || {
            let known = client.path_mtu();
            if known > due {
                client.send(known);
            }
            known <= due
        });
        assert_eq!(client.path_mtu(), due, "{}", VIRTUAL[family]);
        assert!(watch.packets("due").unwrap() > before, "the message said {due}");
        eventually(PATIENCE, &format!("an echo of {due} bytes from {}", VIRTUAL[family]), || client.echoes(due));
    }
    assert_eq!(watch.packets("less").unwrap(), 0, "messages asked for less than fits");
}

/// Full-size DF datagrams draw messages that are dropped on their way.
fn assert_no_message(site: &Site) {
    for family in [0, 1] {
        let client = Client::new(site.lab(), family);
        eventually(PATIENCE, "an ICMP error to be dropped", || {
            client.send(USUAL);
            blocked(site.lab())
        });
        assert_eq!(client.path_mtu(), USUAL, "no error reaches the client");
    }
}

/// An operator who is wrong about the path: only ICMP errors can tell.
fn told_too_much() -> SiteOptions {
    SiteOptions { path_mtu: Some(USUAL), ..SiteOptions::default().over_v6() }
}

#[test]
fn a_narrow_link_before_the_hosts_with_icmp() {
    require_root();
    let site = site("mtu-hosts", told_too_much(), Place::BeforeHosts);
    transfer(&site, "narrow before the hosts, with ICMP");
    assert!(site.reason("slr1", "drop_pmtu_learned").unwrap() > 0, "the SLR learned from errors about its tunnels");
    assert_message(&site, NARROW - 40);
}

#[test]
fn a_narrow_link_before_the_hosts_without_icmp() {
    require_root();
    let site = site("mtu-hosts-mute", SiteOptions::default().over_v6(), Place::BeforeHosts);
    block_icmp_errors(site.lab());
    await_clamp(&site, NARROW);
    transfer(&site, "narrow before the hosts, without ICMP");
    assert_no_message(&site);
}

#[test]
fn a_narrow_link_behind_the_slr_with_icmp() {
    require_root();
    let site = site("mtu-slr", told_too_much(), Place::BehindSlr);
    transfer(&site, "narrow behind the SLR, with ICMP");
    assert!(site.reason("slr1", "reply_too_big").unwrap() > 0, "the SLR told the clients");
    assert_message(&site, NARROW - 40);
}

#[test]
fn a_narrow_link_behind_the_slr_without_icmp() {
    require_root();
    let told = SiteOptions { path_mtu: Some(NARROW), ..SiteOptions::default().over_v6() };
    let site = site("mtu-slr-mute", told, Place::BehindSlr);
    block_icmp_errors(site.lab());
    await_clamp(&site, NARROW);
    transfer(&site, "narrow behind the SLR, without ICMP");
    assert_no_message(&site);
}

#[test]
fn tunnels_over_ipv4_leave_twenty_bytes_more() {
    require_root();
    for place in [Place::BeforeHosts, Place::BehindSlr] {
        assert_message(&site("mtu-over4", SiteOptions::default(), place), NARROW - 20);
    }
}

/// Who served the downloads of a family.
fn server_of(report: &Report, family: usize) -> String {
    let kind = report.kinds().find(|kind| kind["target"].as_str().unwrap().contains(VIRTUAL[family])).unwrap();
    kind["servers"][0]["server"].as_str().unwrap().to_owned()
}

#[test]
fn an_error_about_a_reply_reaches_the_host_that_sent_it() {
    require_root();
    let site = Site::up("mtu-reply", SiteOptions::default()).unwrap();
    // The router's end only: the client goes on believing in 1,500 bytes and announces segments that large.
    site.lab().sh("internet", &format!("ip link set dev to-c1 mtu {NARROW}")).unwrap();
    let words = format!(
        "--target {} --target {} --flow download=2 --download-path /bytes/100M --timeout 20s",
        VIRTUAL[0], VIRTUAL[1]
    );
    let report = traffic::run(site.lab(), "c1", &words).unwrap();
    report.assert_clean("downloads over a narrow last link");
    assert_eq!(report.total("completed"), 2);
    let errors = site.reason("slr1", "fwd_icmp_error").unwrap();
    println!("{errors} ICMP errors about replies went to the hosts that sent them");
    assert!(errors >= 2, "one of each family at least");
    for (family, address) in [(0, "10.0.1.2"), (1, "fd00:0:1::2")] {
        let server = server_of(&report, family);
        for host in HOSTS {
            let due = (host == server).then_some(NARROW);
            let known = cached_mtu(site.lab(), host, address);
            assert_eq!(known, due, "{host}'s path to {address}, which {server} served");
        }
    }
    for node in iter::once("slr1").chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets");
    }
}
