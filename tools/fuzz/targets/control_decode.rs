//! Bytes from the control channel, as the other end may send them: frames cut from a stream, datagrams, and a whole
//! conversation at each end. The first byte says which.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use slr_model::Role;
use slr_session::conversation::{BackoffSettings, Child, ChildSettings, Parent, Peer, PeerSettings};
use slr_wire::{Channel, FrameReader, Message, RingsAssembly, Welcome};

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => round_trip(bytes),
        1 => stream(bytes),
        2 => child(bytes),
        3 => parent(bytes),
        _ => peer(bytes),
    }
});

/// What decodes is valid: it encodes again, and reads back the same.
fn round_trip(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else { return };
    let frame = message.encode_frame().expect("what fitted a frame still does");
    assert_eq!(Message::decode(&frame[4..]).as_ref(), Ok(&message));
    assert!(message.travels(Channel::Stream) != message.travels(Channel::Datagram));
}

/// Envelopes of a stream, however it is cut.
fn stream(bytes: &[u8]) {
    let mut reader = FrameReader::default();
    let mut rings = RingsAssembly::default();
    for chunk in bytes.chunks(7) {
        reader.push(chunk);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    if let Ok(Message::Rings(part)) = Message::decode(frame) {
                        let _ = rings.push(part);
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Records of the input: one byte says stream or datagram and how much time goes by, one how long the envelope is.
fn records(mut bytes: &[u8], mut take: impl FnMut(bool, Duration, &[u8])) {
    while let [head, len, rest @ ..] = bytes {
        let len = usize::from(*len).min(rest.len());
        take(head & 1 == 0, Duration::from_millis(u64::from(head >> 1) * 20), &rest[..len]);
        bytes = &rest[len..];
    }
}

fn child(bytes: &[u8]) {
    let mut now = Instant::now();
    let settings = ChildSettings {
        incarnation: 1,
        first_session: 1,
        software: "fuzz".into(),
        role: Role::Host,
        tunnel_addresses: Vec::new(),
        tunnel_sources: Vec::new(),
        backoff: BackoffSettings::default(),
    };
    let mut child = Child::new(settings, 1, now);
    child.handle_timeout(now);
    child.handle_connected(now);
    records(bytes, |stream, time, envelope| {
        now += time;
        match stream {
            true => child.handle_frame(now, envelope),
            false => child.handle_datagram(now, envelope),
        }
        child.handle_timeout(now);
        while child.poll_output().is_some() {}
    });
}

fn parent(bytes: &[u8]) {
    let mut now = Instant::now();
    let mut parent = Parent::new(Role::Host, now);
    let welcome = Welcome {
        session: 1,
        advert_interval_ms: 400,
        silent_after_ms: 1_000,
        ack_interval_ms: 800,
        tunnel_sources: Vec::new(),
    };
    records(bytes, |stream, time, envelope| {
        now += time;
        match stream {
            true => parent.handle_frame(now, envelope),
            false => parent.handle_datagram(now, envelope),
        }
        // Admitted as soon as it has said hello; at any other time this changes nothing, or the intervals.
        parent.welcome(now, welcome.clone());
        parent.handle_timeout(now);
        while parent.poll_output().is_some() {}
    });
}

fn peer(bytes: &[u8]) {
    let mut now = Instant::now();
    let settings = PeerSettings {
        incarnation: 1,
        first_session: 1,
        software: "fuzz".into(),
        role: Role::Site,
        tunnel_addresses: Vec::new(),
        tunnel_sources: Vec::new(),
        backoff: BackoffSettings::default(),
    };
    let mut peer = Peer::accept(settings, now);
    records(bytes, |stream, time, envelope| {
        now += time;
        match stream {
            true => peer.handle_frame(now, envelope),
            false => peer.handle_datagram(now, envelope),
        }
        peer.handle_timeout(now);
        while peer.poll_output().is_some() {}
    });
}
