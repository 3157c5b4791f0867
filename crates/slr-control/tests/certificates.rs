//! Certificates that change while sessions are open.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{DAY, Domain, Host, INTERVAL_MS, Router, advert, load};
use slr_ca::Moment;
use slr_control::{HubEvent, Trust, TrustFiles};
use slr_model::Role;
use slr_session::conversation::{ChildEvent, ParentEvent};
use slr_wire::Code;

#[tokio::test]
async fn a_revoked_host_is_out_within_two_seconds() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    let mut other = Host::start(&home.node(Role::Host, "h2"), router.target(Role::Site, "r1"));
    let first = router.welcome().await;
    router.welcome().await;
    host.welcomed().await;
    other.welcomed().await;
    let begin = Instant::now();
    home.revoke("h1", &["r1"]);
    let (name, id, code, why) = router
        .until("the revocation", |event| match event {
            HubEvent::Distrusted { name, id, code, why } => Some((name.clone(), *id, *code, why.clone())),
            _ => None,
        })
        .await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!((name.as_str(), code), ("h1", Code::Revoked));
    assert!(id.is_some() && why.contains("certificate of host h1 is revoked; if h1 is to come back"), "{why}");
    let why = host.lost().await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(why.contains("certificate of host h1 is revoked") && why.contains("slr-ca issue"), "{why}");
    // It is refused from now on; the other host stays.
    assert!(router.refusal().await.contains("is revoked"));
    assert_eq!(router.hub.connections().len(), 1);
    assert!(first.0 > 0);
}

/// Everything that one authority says, and everything that another one says.
fn trust_both(files: &TrustFiles, other: &TrustFiles) {
    let lists = |files: &TrustFiles| files.crl.clone().unwrap();
    for (own, also) in [(files.ca.clone(), other.ca.clone()), (lists(files), lists(other))] {
        fs::write(&own, [fs::read(&own).unwrap(), fs::read(&also).unwrap()].concat()).unwrap();
    }
}

#[tokio::test]
async fn an_authority_takes_over_from_another_one_of_its_name() {
    let (old, new) = (Domain::new("example.net"), Domain::new("example.net"));
    let (site, first, second) = (old.node(Role::Site, "r1"), old.node(Role::Host, "h1"), new.node(Role::Host, "h2"));
    let (newest, oldest) = (new.node(Role::Host, "h3"), old.node(Role::Host, "h4"));
    trust_both(&site, &newest);
    trust_both(&second, &oldest);
    let mut router = Router::start(&site, Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&first, router.target(Role::Site, "r1"));
    router.welcome().await;
    host.welcomed().await;
    let mut host = Host::start(&second, router.target(Role::Site, "r1"));
    router.welcome().await;
    host.welcomed().await;
    // Each one's list revokes its own.
    new.revoke("h2", &["h3"]);
    let lists = [&first, &newest].map(|files| fs::read(files.crl.as_ref().unwrap()).unwrap());
    fs::write(site.crl.as_ref().unwrap(), lists.concat()).unwrap();
    assert!(host.lost().await.contains("certificate of host h2 is revoked"));
    assert_eq!(router.hub.connections().len(), 1);
}

#[tokio::test]
async fn a_host_that_is_revoked_while_it_is_away_is_told_of() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    router.welcome().await;
    host.welcomed().await;
    drop(host);
    router.ended().await;
    home.revoke("h1", &["r1"]);
    let told = router
        .until("the revocation", |event| match event {
            HubEvent::Distrusted { name, id, code, .. } => Some((name.to_string(), *id, *code)),
            _ => None,
        })
        .await;
    assert_eq!(told, ("h1".to_owned(), None, Code::Revoked));
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_session() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let files = home.node_valid(Role::Host, "h1", Moment::now(), Duration::from_secs(8));
    let mut host = Host::start(&files, router.target(Role::Site, "r1"));
    router.welcome().await;
    host.welcomed().await;
    let code = router
        .until("the expiry", |event| match event {
            HubEvent::Distrusted { code, .. } => Some(*code),
            _ => None,
        })
        .await;
    assert_eq!(code, Code::Expired);
    let why = host.lost().await;
    assert!(why.contains("certificate of host h1 has expired") && why.contains("slr-ca renew h1"), "{why}");
}

/// What the router hears of h1 for a while: the longest time between two adverts, and whether its last connection ended.
async fn listen(router: &mut Router, until: impl Fn(u32) -> bool) -> (Duration, u32) {
    let (mut last, mut longest, mut hellos, mut owner) = (Instant::now(), Duration::ZERO, 0, None);
    while !until(hellos) {
        let event = tokio::time::timeout(common::PATIENCE, router.events.recv()).await.unwrap().unwrap();
        let HubEvent::Child { id, event, .. } = event else { continue };
        match event {
            ParentEvent::Hello(_) => {
                hellos += 1;
                router.hub.welcome(id, common::welcome()).unwrap();
                // As the registry does: the newer connection owns the name.
                if let Some(older) = owner.replace(id) {
                    let refused = slr_wire::Refused::new(Code::Superseded, "a newer connection", "");
                    let _ = router.hub.refuse(older, refused);
                }
            }
            ParentEvent::Advert(_) => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            ParentEvent::Ended { why, .. } => assert_ne!(owner, Some(id), "the owner's connection ended: {why}"),
            ParentEvent::Withdrawn { .. }
            | ParentEvent::Ordered { .. }
            | ParentEvent::Claimed { .. }
            | ParentEvent::Epoch(_) => {}
        }
    }
    (longest, hellos)
}

#[tokio::test]
async fn a_renewal_drops_no_advert() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    host.offer.send_replace(Some(advert(0.5)));
    listen(&mut router, |hellos| hellos == 1).await;
    host.welcomed().await;
    let before = router.hub.connections()[0].certificate.serial.clone();
    let silent_after = Duration::from_millis(u64::from(INTERVAL_MS) * 5 / 2);
    for _ in 0..3 {
        home.renew("h1");
        let begin = Instant::now();
        // Until the second connection is there, and on for ten intervals.
        let done = |hellos| hellos == 1 && begin.elapsed() > Duration::from_millis(1_500);
        let (longest, _) = listen(&mut router, done).await;
        assert!(longest < silent_after, "no advert for {longest:?}");
    }
    let views = router.hub.connections();
    assert_eq!(views.len(), 1);
    assert_ne!(views[0].certificate.serial, before, "the new certificate is the one in use");
    // The daemon heard of welcomes alone: no loss, no refusal.
    while let Ok(event) = host.events.try_recv() {
        assert!(matches!(event.event, ChildEvent::Welcomed(_) | ChildEvent::Heard(_)), "{event:?}");
    }
}

#[tokio::test]
async fn a_parent_that_renews_is_joined_anew_before_its_first_certificate_ends() {
    let home = Domain::new("example.net");
    let files = home.node_valid(Role::Site, "r1", Moment::now(), Duration::from_secs(6));
    let mut router = Router::start(&files, Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    host.offer.send_replace(Some(advert(0.5)));
    listen(&mut router, |hellos| hellos == 1).await;
    host.welcomed().await;
    home.renew("r1");
    let begin = Instant::now();
    let (longest, _) = listen(&mut router, |_| begin.elapsed() > Duration::from_secs(8)).await;
    assert!(longest < Duration::from_millis(u64::from(INTERVAL_MS) * 5 / 2), "no advert for {longest:?}");
    while let Ok(event) = host.events.try_recv() {
        assert!(matches!(event.event, ChildEvent::Welcomed(_) | ChildEvent::Heard(_)), "{event:?}");
    }
}

#[tokio::test]
async fn broken_files_change_nothing() {
    let home = Domain::new("example.net");
    let files = home.node(Role::Site, "r1");
    let trust = load(&files);
    let serial = trust.current().own().serial.clone();
    let good = fs::read(&files.certificate).unwrap();
    let list = files.crl.clone().unwrap();
    let good_list = fs::read(&list).unwrap();
    for (path, bad) in [(&files.certificate, &b"nonsense"[..]), (&files.key, b""), (&list, b""), (&files.ca, b"x")] {
        let before = fs::read(path).unwrap();
        fs::write(path, bad).unwrap();
        (0..3).for_each(|_| assert!(!trust.poll(), "{path:?}"));
        fs::write(path, before).unwrap();
        trust.poll();
    }
    fs::remove_file(&list).unwrap();
    assert!(!trust.poll());
    fs::write(&list, good_list).unwrap();
    assert_eq!(trust.current().own().serial, serial);
    // A half copied renewal: the certificate without its key.
    home.renew("r1");
    let (renewed, key) = (fs::read(&files.certificate).unwrap(), fs::read(&files.key).unwrap());
    fs::write(&files.certificate, &good).unwrap();
    assert!(!trust.poll());
    assert_eq!(trust.current().own().serial, serial);
    fs::write(&files.certificate, &renewed).unwrap();
    assert!(trust.poll());
    assert_ne!(trust.current().own().serial, serial);
    assert_eq!(fs::read(&files.key).unwrap(), key);
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused_at_the_start() {
    let (home, other) = (Domain::new("example.net"), Domain::new("example.org"));
    let (mine, theirs) = (home.node(Role::Host, "h1"), other.node(Role::Host, "h1"));
    let cases = [
        (slr_control::TrustFiles { key: theirs.key.clone(), ..mine.clone() }, "is not the key of"),
        (slr_control::TrustFiles { ca: theirs.ca.clone(), ..mine.clone() }, "was not issued by"),
        (slr_control::TrustFiles { crl: theirs.crl.clone(), ..mine.clone() }, "crl.pem is not what slr-ca writes"),
        (slr_control::TrustFiles { crl: Some("/nowhere".into()), ..mine.clone() }, "cannot read /nowhere"),
        (slr_control::TrustFiles { certificate: mine.ca.clone(), ..mine.clone() }, "names no node"),
    ];
    for (files, words) in cases {
        let error = Trust::load(files).map(drop).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("; "), "{words}: {error}");
    }
    // An expired certificate is no mistake in the files: it may be renewed any time.
    let past = home.node_valid(Role::Host, "h2", Moment::now().before(DAY * 2), DAY);
    let warnings = load(&past).current().warnings(std::time::SystemTime::now());
    assert!(warnings.iter().any(|warning| warning.remedy.contains("slr-ca renew h2")), "{warnings:?}");
}

#[tokio::test]
async fn an_authority_that_is_replaced_takes_its_nodes_with_it() {
    let (home, other) = (Domain::new("example.net"), Domain::new("example.net"));
    let files = home.node(Role::Site, "r1");
    let mut router = Router::start(&files, Role::Site, "127.0.0.1:0");
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    router.welcome().await;
    host.welcomed().await;
    let theirs = other.node(Role::Site, "r1");
    for (from, to) in [
        (&theirs.ca, &files.ca),
        (&theirs.key, &files.key),
        (&theirs.certificate, &files.certificate),
        (theirs.crl.as_ref().unwrap(), files.crl.as_ref().unwrap()),
    ] {
        fs::copy(from, to).unwrap();
    }
    assert!(router.ended().await.contains("is another trust domain's"));
    assert!(host.lost().await.contains("trust domain"));
}
