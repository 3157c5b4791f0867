//! What was carried: by subnet and account, and how full the tables are.

use std::collections::BTreeMap;

use slr_dataplane::router::{SweepPolicy, Usage};

use crate::common::Bed;
use crate::common::site;
use crate::scene::{self, FAMILIES, OTHER, To, begin, pin};

fn accounts(bed: &Bed) -> BTreeMap<u32, (u64, u64)> {
    let accounts = bed.router.accounts().expect("accounts can be read");
    accounts.into_iter().map(|(account, Usage { packets, flows, .. })| (account, (packets, flows))).collect()
}

#[test]
fn traffic_is_charged_to_the_account_of_its_time() {
    let mut bed = Bed::new(scene::desired());
    bed.change(|desired| desired.subnets[2].account = 9); // the other subnet, IPv4
    (1..=3).for_each(|port| pin(&bed, FAMILIES[0], port, To::Tcp(80)));
    pin(&bed, FAMILIES[1], 1, To::Tcp(80));
    pin(&bed, OTHER[0], 1, To::Tcp(80));
    assert_eq!(accounts(&bed), BTreeMap::from([(1, (8, 4)), (9, (2, 1))]));

    bed.change(|desired| desired.subnets[0].account = 2);
    assert_eq!(accounts(&bed), BTreeMap::from([(1, (8, 4)), (2, (0, 0)), (9, (2, 1))]), "what was stays where it was");
    pin(&bed, FAMILIES[0], 9, To::Tcp(80));
    assert_eq!(accounts(&bed)[&2], (2, 1));

    bed.change(|desired| desired.subnets.retain(|subnet| subnet.account != 9));
    assert_eq!(accounts(&bed)[&9], (2, 1), "also when the subnet has gone");
    bed.change(|desired| desired.subnets.push(site::subnet("192.0.33.0/24", &["a"])));
    assert_eq!(accounts(&bed), BTreeMap::from([(1, (8, 4)), (2, (2, 1)), (9, (2, 1))]), "its id is free of it");
}

#[test]
fn tables_tell_how_full_they_are() {
    let mut bed = Bed::new(scene::desired());
    (1..=5).for_each(|port| pin(&bed, FAMILIES[0], port, To::Tcp(80)));
    (1..=2).for_each(|port| pin(&bed, FAMILIES[1], port, To::Tcp(80)));
    begin(&bed, FAMILIES[1], 9, To::Tcp(80));
    bed.router.sweep(&SweepPolicy::default()).expect("flows can be swept");
    let tables: BTreeMap<_, _> =
        bed.router.table_use().expect("tables can be read").into_iter().map(|table| (table.name, table)).collect();
    let routes = bed.desired.subnets.iter().map(|subnet| subnet.routes.len() as u64 - 1).sum();
    for (name, used, capacity) in [
        ("flows_v4", 5, 1 << 14),
        ("flows_v6", 2, 1 << 14),
        ("pending_v4", 0, 1 << 14),
        ("pending_v6", 1, 1 << 14),
        ("hops", 3, 4096),
        ("subnets", 4, 4096),
        ("prefixes_v4", 2, 65536),
        ("prefixes_v6", 2, 65536),
        ("classes", 4, 65536),
        ("services", routes, 65536),
        ("upstreams", 2, 4096),
        ("tunnel_addrs", 2, 64),
        ("rings", 2, 4096),
        ("buckets", 2, 65536),
        ("frags", 0, 16384),
    ] {
        assert_eq!((tables[name].used, tables[name].capacity), (used, capacity), "{name}");
    }
    let slots = tables["slots"];
    assert!(slots.used > 0 && slots.used < slots.capacity, "{slots:?}");
}
