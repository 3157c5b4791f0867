//! Forged answers to augmented echoes, straight into a router's interface: more than an emulated wire carries. Each is well formed, of an
//! epoch that the router accepts, and signed with nobody's key, so that it costs the router all that a forged one can.

use std::net::IpAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slr_dataplane::bench::{Load, load_settings};
use slr_dataplane::router::XdpMode;
use slr_dataplane::xdp;
use slr_model::{KeyMask, Protocol};
use slr_testkit::lab::Lab;
use slr_testkit::netns::NetNs;
use slr_testkit::packet::pkt;
use slr_wire::{FlowAdvert, FlowSecret};

/// What a core generates beside what it has to do in a drill.
const PER_S_MAX: u32 = 1_000_000;
/// Longer than any drill. Who is not stopped stops by itself.
const LASTS_MAX: Duration = Duration::from_secs(300);
/// From one burst to the next.
const PACE: Duration = Duration::from_millis(2);
/// A burst makes up for a late one up to this.
const LATE_MAX: Duration = Duration::from_millis(20);
/// Data of an ordinary echo, before the advertisement.
const ORDINARY: [u8; 56] = [0; 56];

/// What is forged, how often and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose name it is in.
    pub client: IpAddr,
    /// Where to.
    pub virtual_address: IpAddr,
    /// Of the keys that it pretends to be signed with.
    pub epoch: u32,
    /// Answers a second.
    pub per_s: u32,
    /// For so long.
    pub lasts: Duration,
}

/// Sends it all into a router's interface in a lab; how many those were.
pub fn run(lab: &Lab, router: &str, interface: &str, plan: &Plan) -> Result<u64> {
    ensure!(plan.per_s <= PER_S_MAX, "{} answers a second are more than {PER_S_MAX}", plan.per_s);
    ensure!(plan.lasts <= LASTS_MAX, "{:?} is longer than {LASTS_MAX:?}", plan.lasts);
    let links: Value = serde_json::from_str(&lab.sh(router, &format!("ip -json link show {interface}"))?)?;
    let mac = links[0]["address"].as_str().context("its address")?;
    // The other end of its cable is the emulator's.
    let ifindex = links[0]["link_index"].as_u64().context("the index of its other end")?.try_into()?;
    let packet = answer(plan, mac)?;
    let eth = packet[..14].try_into().expect("a frame is longer");
    NetNs::open(Path::new("/run/netns").join(format!("{}-emu", lab.run())))?.with(|| {
        let load = Load::new()?;
        // Where no packet ever is, so that bursts cost what their frames do.
        let _idle = xdp::attach(load.repeater(), "lo", XdpMode::Generic, None, &[])?;
        load.configure(&load_settings { eth, ifindex, ..load_settings::default() })?;
        let (begun, mut turn, mut owed, mut sent) = (Instant::now(), Instant::now(), 0.0, 0);
        while begun.elapsed() < plan.lasts {
            owed += f64::from(plan.per_s) * turn.elapsed().min(LATE_MAX).as_secs_f64();
            turn = Instant::now();
            let frames = owed as u32;
            owed -= f64::from(frames);
            if frames > 0 {
                load.repeat(&packet, frames).context("live frames")?;
                sent += u64::from(frames);
            }
            sleep(PACE.saturating_sub(turn.elapsed()));
        }
        Ok(sent)
    })
}

fn answer(plan: &Plan, mac: &str) -> Result<Vec<u8>> {
    let advert = FlowAdvert {
        client: plan.client,
        virtual_address: plan.virtual_address,
        prefix_len: if plan.virtual_address.is_ipv4() { 24 } else { 48 },
        server: "10.1.11.2".parse().expect("an address"),
        node: "h1".parse().expect("a name"),
        epoch: plan.epoch,
        serial: 1,
        mask: KeyMask::ALL,
        flows: vec![(40_000, 8_080, Protocol::Tcp)],
    };
    let bytes = advert.encode(&advert.key(&FlowSecret::new([0xee; FlowSecret::LEN]).master(plan.epoch)))?;
    let to: Vec<u8> =
        mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().context("its address")?;
    let to: [u8; 6] = to.try_into().ok().context("an Ethernet address has six bytes")?;
    let frame = pkt().eth(to, [2, 0, 0, 0, 0, 0xee]).ip(plan.client, plan.virtual_address);
    Ok(frame.echo_reply(1, 1).payload([&ORDINARY[..], &bytes[..]].concat()).build())
}
