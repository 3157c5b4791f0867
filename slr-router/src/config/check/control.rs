//! `[control]`, `[[peer]]`, `[[parent]]`, `[[neighbour]]`, `[keepalive]`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use slr_daemon::config::Complaint;
use slr_model::NodeName;

use super::flow_secret::flow_secret;
use super::number::{millis, number, seconds};
use crate::config::control::{Control, DEFAULT_STATE_DIR, Keepalive, Neighbour};
use crate::config::file;

/// Routers of one kind that are connected with: a cluster is a handful.
const NEIGHBOURS_MAX: usize = 32;

/// Checks everything about connections.
pub fn control(file: &file::File, folder: &Path, found: &mut Vec<Complaint>) -> Option<Control> {
    let peers = neighbours(&file.peer, "peer", &file.node.name, found);
    let parents = neighbours(&file.parent, "parent", &file.node.name, found);
    let neighbouring = neighbours(&file.neighbour, "neighbour", &file.node.name, found);
    for neighbour in &file.neighbour {
        if file.peer.iter().chain(&file.parent).any(|other| other.name.get_ref() == neighbour.name.get_ref()) {
            found.push(Complaint::new(
                neighbour.name.span(),
                format!("router {} is a peer or a parent already", neighbour.name.get_ref()),
                "a neighbour is of another cluster; keep one of the two",
            ));
        }
    }
    let Some(given) = &file.control else {
        if let Some(first) = file.peer.first().or(file.parent.first()).or(file.neighbour.first()) {
            let name = first.name.get_ref();
            found.push(Complaint::new(
                first.name.span(),
                format!("router {name} cannot be connected with: there is no [control]"),
                "add [control] with listen, ca, certificate and key",
            ));
        }
        return None;
    };
    let given = given.get_ref();
    if given.listen.get_ref().is_empty() {
        found.push(Complaint::new(
            given.listen.span(),
            "the router listens nowhere, so no host can say what it serves",
            "list the addresses that hosts reach this router at, such as [\"10.1.0.1:6100\"]",
        ));
    }
    // A child's advert comes every interval: two may be lost, or late, before it counts as silent.
    let interval =
        millis("advert_interval_ms", &given.advert_interval_ms, Duration::from_millis(1_000), 50..=60_000, found);
    let least = (interval * 2).as_millis() as u32;
    let silent = millis("silent_after_ms", &given.silent_after_ms, interval * 5 / 2, least..=600_000, found);
    Some(Control {
        listen: given.listen.get_ref().iter().map(|address| *address.get_ref()).collect(),
        ca: folder.join(&given.ca),
        certificate: folder.join(&given.certificate),
        key: folder.join(&given.key),
        crl: given.crl.as_ref().map(|path| folder.join(path)),
        state_dir: given.state_dir.as_ref().map_or_else(|| DEFAULT_STATE_DIR.into(), |path| folder.join(path)),
        advert_interval: interval,
        silent_after: silent,
        vanish_window: millis(
            "vanish_window_ms",
            &given.vanish_window_ms,
            Duration::from_millis(300),
            0..=60_000,
            found,
        ),
        adopt_hold: seconds("adopt_hold_s", &given.adopt_hold_s, Duration::from_secs(10), 1..=3_600, found),
        forget_after: seconds("forget_after_s", &given.forget_after_s, Duration::from_secs(3_600), 10..=604_800, found),
        peers,
        parents,
        neighbours: neighbouring,
        ask_others: given.ask_others.unwrap_or(true),
        flow_secret: given.flow_secret.as_ref().and_then(|file| flow_secret(file, folder, found)),
        // Each host hears of each epoch; one that is away for longer than two has to wait for its next session.
        flow_key_rotation: seconds(
            "flow_key_rotation_s",
            &given.flow_key_rotation_s,
            Duration::from_secs(3_600),
            10..=604_800,
            found,
        ),
    })
}

fn neighbours(given: &[file::Neighbour], what: &str, own: &NodeName, found: &mut Vec<Complaint>) -> Vec<Neighbour> {
    let mut names = BTreeSet::new();
    for (index, neighbour) in given.iter().enumerate() {
        let name = neighbour.name.get_ref();
        let complaint = if name == own {
            Some((format!("{what} {name} is this router itself"), "remove it, or correct the name"))
        } else if !names.insert(name) {
            Some((format!("two {what}s are called {name}"), "list all addresses in one entry"))
        } else if index == NEIGHBOURS_MAX {
            Some((format!("more than {NEIGHBOURS_MAX} {what}s"), "a cluster is a handful; remove this one"))
        } else {
            None
        };
        if let Some((message, remedy)) = complaint {
            found.push(Complaint::new(neighbour.name.span(), message, remedy));
        }
        if neighbour.addresses.get_ref().is_empty() {
            found.push(Complaint::new(
                neighbour.addresses.span(),
                format!("{what} {name} has no address"),
                "write where it listens, such as [\"10.1.0.2:6100\"]",
            ));
        }
    }
    given
        .iter()
        .map(|n| Neighbour { name: n.name.get_ref().clone(), addresses: n.addresses.get_ref().clone() })
        .collect()
}

/// Checks how ways are probed. A way that is cut is lost within 1.2 s: an interval, `lost_after` probes that insist, and the
/// wait.
pub fn keepalive(given: &file::Keepalive, found: &mut Vec<Complaint>) -> Keepalive {
    let interval = millis("interval_ms", &given.interval_ms, Duration::from_millis(400), 10..=60_000, found);
    // As many probes as are remembered on their way.
    let most = (interval * 32).as_millis() as u32;
    Keepalive {
        interval,
        reply_wait: millis(
            "reply_wait_ms",
            &given.reply_wait_ms,
            Duration::from_millis(200).min(interval * 32),
            1..=most,
            found,
        ),
        lost_after: number("lost_after", &given.lost_after, 20, 1..=50, found),
    }
}
