//! Which route decides: a client class's or everybody's, a service's or the rest's. See `site::mixed()`.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Desired, Route, Subnet};
use slr_model::{EchoPolicy, KeyMask};
use slr_testkit::packet::pkt;

use crate::case::{Case, case, run_all};
use crate::common::{Bed, outer, site};
use crate::frames::*;

pub fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(|f| [ranks(f), lists(f), icmp(f), changes(f)].into_iter().flatten()).collect()
}

/// Change the subnets that have all kinds of routes, of both families.
fn mixed(desired: &mut Desired, change: impl Fn(&mut Subnet)) {
    let is_it =
        |subnet: &&mut Subnet| [site::MIXED4, site::MIXED6].iter().any(|a| subnet.prefix.contains(a.parse().unwrap()));
    desired.subnets.iter_mut().filter(is_it).for_each(change);
}

fn is_for(route: &Route, class: Option<&str>, service: Option<&str>) -> bool {
    let words = (route.class.as_ref().map(|c| c.as_str()), route.service.map(|service| service.to_string()));
    (words.0, words.1.as_deref()) == (class, service)
}

/// Send what has no other route to one host, so that one can see that it was that route.
fn begin(text: String) -> Case {
    case(text).change(|desired| {
        mixed(desired, |subnet| {
            subnet.routes.retain(|route| !is_for(route, None, None));
            subnet.routes.push(site::route(None, None, &["v"]));
        });
    })
}

fn without(case: Case, class: Option<&'static str>, service: Option<&'static str>) -> Case {
    case.change(move |desired| mixed(desired, |subnet| subnet.routes.retain(|route| !is_for(route, class, service))))
}

fn ranks(f: &Family) -> Vec<Case> {
    let name = |text: &str| begin(format!("{}: {text}", f.name));
    let (near, wide, stranger) = (f.client, f.neighbour, f.other_client);
    let stepwise = name("TCP: class and service, then the service, then the class, then whatever is left")
        .send(syn(near, 40000, f.mixed, 80), R::FwdNew)
        .to("v");
    let stepwise =
        without(stepwise, Some("near"), Some("tcp/80")).send(syn(near, 40001, f.mixed, 80), R::FwdNew).to("b");
    let stepwise = without(stepwise, None, Some("tcp/80")).send(syn(near, 40002, f.mixed, 80), R::FwdNew).to("a");
    let stepwise = without(stepwise, Some("near"), None).send(syn(near, 40003, f.mixed, 80), R::FwdNew).to("v");
    let mut udp_steps = name("UDP: the same")
        .change(|desired| mixed(desired, |s| s.routes.push(site::route(None, Some("udp/53"), &["b"]))))
        .send(udp(wide, 40000, f.mixed, 53), R::FwdNew)
        .to("v");
    udp_steps = without(udp_steps, Some("wide"), Some("udp/53")).send(udp(wide, 40001, f.mixed, 53), R::FwdNew).to("b");
    udp_steps = without(udp_steps, None, Some("udp/53"))
        .change(|desired| {
            mixed(desired, |subnet| {
                subnet.routes.retain(|route| !is_for(route, Some("wide"), None));
                subnet.routes.push(site::route(Some("wide"), None, &["a"]));
            });
        })
        .send(udp(wide, 40002, f.mixed, 53), R::FwdNew)
        .to("a");
    udp_steps = without(udp_steps, Some("wide"), None).send(udp(wide, 40003, f.mixed, 53), R::FwdNew).to("v");
    vec![
        stepwise,
        udp_steps,
        name("a class's own route for what no route names")
            .send(syn(near, 40000, f.mixed, 81), R::FwdNew)
            .to("a")
            .send(udp(near, 40000, f.mixed, 80), R::FwdNew)
            .to("a"),
        name("the longest prefix is the class: the neighbour has another one")
            .send(udp(near, 40000, f.mixed, 53), R::FwdNew)
            .to("a")
            .send(udp(wide, 40000, f.mixed, 53), R::FwdNew)
            .to("v"),
        name("who is of no class has everybody's routes")
            .send(syn(stranger, 40000, f.mixed, 80), R::FwdNew)
            .to("b")
            .send(syn(stranger, 40000, f.mixed, 81), R::FwdNew)
            .to("v")
            .send(udp(stranger, 40000, f.mixed, 53), R::FwdNew)
            .to("v"),
        name("a route that is there decides, also if it has nobody")
            .change(|desired| {
                let routes = site::routes_mut(desired).filter(|route| is_for(route, Some("near"), Some("tcp/80")));
                routes.for_each(|route| route.members.clear());
            })
            .send(syn(near, 40000, f.mixed, 80), R::DropNoActiveHost)
            .send(syn(wide, 40000, f.mixed, 80), R::FwdNew)
            .to("b"),
        without(name("without a route for the rest, the rest has nobody"), None, None)
            .send(syn(stranger, 40000, f.mixed, 81), R::DropNoActiveHost)
            .send(syn(stranger, 40000, f.mixed, 80), R::FwdNew)
            .to("b"),
    ]
}

fn lists(f: &Family) -> Vec<Case> {
    let listed = |text: &str| {
        begin(format!("{}: {text}", f.name)).change(|desired| mixed(desired, |subnet| subnet.listed_only = true))
    };
    vec![
        listed("where only what is listed is served, a route without a service serves nobody")
            .send(syn(f.client, 40000, f.mixed, 81), R::PassNotServed)
            .send(udp(f.client, 40000, f.mixed, 80), R::PassNotServed)
            .send(syn(f.client, 40000, f.mixed, 80), R::FwdNew)
            .to("v")
            .send(syn(f.neighbour, 40000, f.mixed, 80), R::FwdNew)
            .to("b"),
        listed("what a class's route lists is served to that class alone")
            .send(udp(f.neighbour, 40000, f.mixed, 53), R::FwdNew)
            .to("v")
            .send(udp(f.client, 40000, f.mixed, 53), R::PassNotServed)
            .send(udp(f.other_client, 40000, f.mixed, 53), R::PassNotServed),
        listed("and everything again")
            .change(|desired| mixed(desired, |subnet| subnet.listed_only = false))
            .send(syn(f.client, 40000, f.mixed, 81), R::FwdNew)
            .to("a"),
    ]
}

fn icmp(f: &Family) -> Vec<Case> {
    let name = |text: &str| {
        begin(format!("{}: {text}", f.name)).change(|desired| mixed(desired, |s| s.echo = EchoPolicy::Forward))
    };
    let echo = |client: &str| from(client, f.mixed).echo_request(7, 1).build();
    let error = |client: &str, vport: u16| {
        let quote = quoted(ip(pkt(), f.mixed, client).tcp(vport, 40000).payload_len(100), if f.v6 { 48 } else { 28 });
        from(client, f.mixed).too_big(1400, &quote).build()
    };
    vec![
        name("echo requests have no service: their class's route, or the rest's")
            .send(echo(f.client), R::FwdEcho)
            .to("a")
            .send(echo(f.other_client), R::FwdEcho)
            .to("v"),
        name("also where only what is listed is served")
            .change(|desired| mixed(desired, |subnet| subnet.listed_only = true))
            .send(echo(f.client), R::FwdEcho)
            .to("a")
            .send(echo(f.other_client), R::FwdEcho)
            .to("v"),
        name("an error about an unknown flow goes where that flow would go")
            .send(error(f.client, 80), R::FwdIcmpError)
            .to("v")
            .send(error(f.client, 81), R::FwdIcmpError)
            .to("a")
            .send(error(f.neighbour, 80), R::FwdIcmpError)
            .to("b")
            .send(error(f.other_client, 81), R::FwdIcmpError)
            .to("v")
            .change(|desired| mixed(desired, |subnet| subnet.listed_only = true))
            .send(error(f.client, 81), R::PassNotServed),
    ]
}

fn changes(f: &Family) -> Vec<Case> {
    let mixed_address = f.mixed;
    let name = |text: &str| {
        begin(format!("{}: {text}", f.name))
            .send(syn(f.client, 40000, f.mixed, 80), R::FwdNew)
            .to("v")
            .send(ack(f.client, 40000, f.mixed, 80, 0), R::FwdPromoted)
            .to("v")
            .send(udp(f.client, 40001, f.mixed, 53), R::FwdNew)
            .to("a")
    };
    let pinned_stays = |case: Case| {
        case.send(ack(f.client, 40000, f.mixed, 80, 9), R::FwdEstablished)
            .to("v")
            .send(udp(f.client, 40001, f.mixed, 53), R::FwdPromoted)
            .to("a")
    };
    vec![
        pinned_stays(without(name("flows stay where they are when their route goes"), Some("near"), Some("tcp/80")))
            .send(syn(f.client, 40002, f.mixed, 80), R::FwdNew)
            .to("b"),
        pinned_stays(name("and when their class goes: its clients are of the next wider one").change(|desired| {
            mixed(desired, |subnet| {
                subnet.classes.retain(|class| class.name.as_str() != "near");
                subnet.routes.retain(|route| route.class.as_ref().is_none_or(|class| class.as_str() != "near"));
            });
        }))
        .send(udp(f.client, 40002, f.mixed, 53), R::FwdNew)
        .to("v"),
        name("clients that move to another class take its routes")
            .change(|desired| {
                mixed(desired, |subnet| {
                    let clients = std::mem::take(&mut subnet.classes[0].clients);
                    subnet.classes[1].clients.extend(clients);
                });
            })
            .send(udp(f.client, 40002, f.mixed, 53), R::FwdNew)
            .to("v")
            .send(syn(f.client, 40002, f.mixed, 80), R::FwdNew)
            .to("b"),
        name("a class under another name is the same class")
            .change(|desired| {
                mixed(desired, |subnet| {
                    subnet.classes[0].name = "close".parse().expect("the name of a class");
                    let of_it =
                        subnet.routes.iter_mut().filter(|r| r.class.as_ref().is_some_and(|c| c.as_str() == "near"));
                    of_it.for_each(|route| route.class = Some("close".parse().expect("the name of a class")));
                });
            })
            .send(syn(f.client, 40002, f.mixed, 80), R::FwdNew)
            .to("v"),
        name("a subnet in the place of one with classes inherits none")
            .change(move |desired| {
                let address: std::net::IpAddr = mixed_address.parse().expect("an address");
                desired.subnets.retain(|subnet| !subnet.prefix.contains(address));
            })
            .change(|desired| *desired = site::site())
            .change(|desired| {
                mixed(desired, |subnet| {
                    subnet.classes.clear();
                    subnet.routes = vec![site::route(None, None, &["b"])];
                });
            })
            .send(syn(f.client, 40002, f.mixed, 80), R::FwdNew)
            .to("b"),
    ]
}

#[test]
fn routes_decide_as_the_table_says() {
    run_all(&cases());
}

#[test]
fn each_route_has_a_key_mask_of_its_own() {
    for f in FAMILIES {
        let mut bed = Bed::new(site::site());
        let hosts = |bed: &Bed, client: &str| {
            let mut hosts: Vec<_> = (1..=60)
                .map(|port| outer::read(&bed.send(&syn(client, port, f.mixed, 81)).packet, &bed.desired).host)
                .collect();
            hosts.sort();
            hosts.dedup();
            hosts.len()
        };
        assert_eq!(hosts(&bed, f.neighbour), 1, "{}: by the client's address alone", f.name);
        assert_eq!(hosts(&bed, f.other_client), 3, "{}: by the whole key", f.name);
        bed.change(|desired| {
            let route = |route: &&mut Route| is_for(route, Some("wide"), None);
            site::routes_mut(desired).filter(route).for_each(|route| route.key_mask = KeyMask::ALL);
        });
        bed.change(|desired| desired.config.seed += 1); // forgets what is pending
        assert_eq!(hosts(&bed, f.neighbour), 3, "{}: a mask changes without its ring", f.name);
    }
}
