//! Flows that no router knows, and whose hosts say so.

use slr_testkit::{eventually, require_root};
use slr_wire::FlowAdvert;

use crate::scene::{SOON, Scene};

const PORT: u16 = 50_001;

#[test]
fn a_flow_that_no_router_knows_is_pinned_to_the_host_that_its_client_was_sent_word_by() {
    require_root();
    let mut scene = Scene::up("adverts");
    for family in [0, 1] {
        assert_eq!(scene.pinned_to(family, PORT), None);
        let [pinned, known, sent_on, _] = scene.counted("owned");
        let advert = scene.advert("h2", family, PORT);
        scene.echo(&advert);
        eventually(SOON, "the flow pinned", || scene.pinned_to(family, PORT).is_some());
        assert_eq!(scene.pinned_to(family, PORT).as_deref(), Some("h2"));
        assert_eq!(scene.counted("owned"), [pinned + 1, known, sent_on + 1, 0]);
        // Told once more, it is known; the host hears that it was heard.
        let again = scene.advert("h2", family, PORT);
        scene.echo(&again);
        eventually(SOON, "the flow known", || scene.counted("owned") == [pinned + 1, known + 1, sent_on + 2, 0]);
    }
    assert_eq!(scene.packets("drop_advert_taken"), 4);
    assert_eq!(scene.recovery()["rungs"]["echo"], 2);
    // Several at once.
    let advert = scene.advert("h3", 0, PORT + 1);
    let flows = (1..=16).map(|n| (PORT + n, advert.flows[0].1, advert.flows[0].2)).collect();
    scene.echo(&FlowAdvert { flows, ..advert });
    let all = |scene: &Scene| (1..=16).all(|n| scene.pinned_to(0, PORT + n).as_deref() == Some("h3"));
    eventually(SOON, "all flows pinned", || all(&scene));
}

#[test]
fn what_was_granted_before_an_epochs_end_is_good_after_it_and_a_revocation_ends_one() {
    require_root();
    let mut scene = Scene::up("epochs");
    let epoch = scene.epoch();
    let old = scene.advert("h1", 0, PORT);
    scene.site.authority().unwrap().revoke("h3", &["slr1"]).unwrap();
    let begun = std::time::Instant::now();
    eventually(SOON, "the next epoch", || scene.epoch() == epoch + 1);
    println!("the epoch ended {:?} after the revocation", begun.elapsed());
    scene.echo(&old);
    eventually(SOON, "the flow pinned", || scene.pinned_to(0, PORT).is_some());
    // Whose certificate was revoked is no host here any more, whatever keys it has.
    let theirs = FlowAdvert { epoch, ..scene.advert("h3", 0, PORT + 1) };
    scene.echo(&theirs);
    eventually(SOON, "its word refused", || scene.counted("unknown_host")[3] == 1);
    assert_eq!(scene.pinned_to(0, PORT + 1), None);
    // A restart does not go back.
    scene.site.terminate("slr1").unwrap();
    scene.site.options_mut().hosts.retain(|host| host.name != "h3");
    scene.site.start_router().unwrap();
    assert_eq!(scene.epoch(), epoch + 1);
    // Its host is believed again when it has a session again; until then it tells again.
    eventually(SOON, "the flow pinned", || {
        let next = scene.advert("h1", 0, PORT + 2);
        scene.echo(&next);
        scene.pinned_to(0, PORT + 2).as_deref() == Some("h1")
    });
}
