//! Nodes that do not keep to the rules: with a good certificate, with none, and in numbers.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Domain, Host, Router, hub_settings, welcome};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use slr_control::{ALPN, HubEvent, Target, TrustFiles};
use slr_model::Role;
use slr_session::conversation::{ParentEvent, PeerEvent};
use slr_wire::{Code, Hello, Message, WhoHas};

/// Believes anybody, so that these tests decide alone what is said.
#[derive(Debug)]
struct Credulous(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn quic(files: Option<&TrustFiles>, alpn: &[u8]) -> quinn::Endpoint {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    let mut tls = match files {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().collect::<Result<_, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap()
        }
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

fn hello(role: Role) -> Message {
    Message::Hello(Hello {
        incarnation: 1,
        session: 1,
        software: "hostile".to_owned(),
        role,
        tunnel_addresses: vec!["10.1.0.2".parse().unwrap()],
        tunnel_sources: vec![],
        answers_asks: false,
    })
}

/// A router, and a connection of h1 to it that is welcome.
async fn welcomed(home: &Domain) -> (Router, Connection, SendStream, RecvStream) {
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let endpoint = quic(Some(&home.node(Role::Host, "h1")), ALPN);
    let connection = endpoint.connect(router.address, "slr.invalid").unwrap().await.unwrap();
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(&hello(Role::Host).encode_frame().unwrap()).await.unwrap();
    router.welcome().await;
    (router, connection, send, recv)
}

/// How the router closed the connection.
async fn closed(connection: &Connection) -> (Code, String) {
    match tokio::time::timeout(common::PATIENCE, connection.closed()).await.expect("the router closes it") {
        ConnectionError::ApplicationClosed(close) => {
            let code = Code::from_number(u32::try_from(close.error_code.into_inner()).unwrap());
            (code, String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("closed otherwise: {other}"),
    }
}

#[tokio::test]
async fn frames_of_garbage_end_the_connection() {
    let home = Domain::new("example.net");
    let (mut router, connection, mut send, _recv) = welcomed(&home).await;
    send.write_all(&[&[0, 0, 0, 5][..], &[0xff; 5]].concat()).await.unwrap();
    assert_eq!(closed(&connection).await.0, Code::Violation);
    router.ended().await;
    assert_eq!(router.hub.counters().undecoded.iter().sum::<u64>(), 1);
}

#[tokio::test]
async fn an_oversized_frame_ends_the_connection_before_it_is_sent() {
    let home = Domain::new("example.net");
    let (_router, connection, mut send, _recv) = welcomed(&home).await;
    send.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    let (code, why) = closed(&connection).await;
    assert_eq!(code, Code::Violation);
    assert!(why.contains("4294967295 bytes"), "{why}");
}

#[tokio::test]
async fn a_frame_that_never_ends_is_not_waited_for() {
    let home = Domain::new("example.net");
    let (_router, connection, mut send, _recv) = welcomed(&home).await;
    // A byte every second: the connection lives, the frame does not get whole.
    let begin = Instant::now();
    let drip = async {
        send.write_all(&1_000u32.to_be_bytes()).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if send.write_all(&[0]).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let (code, why) = tokio::select! { closed = closed(&connection) => closed, () = drip => unreachable!() };
    assert_eq!(code, Code::Violation);
    assert!(why.contains("not whole after 10 s"), "{why}");
    assert!(begin.elapsed() > Duration::from_secs(9) && begin.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_not_kept() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let endpoint = quic(Some(&home.node(Role::Host, "h1")), ALPN);
    let no_stream = endpoint.connect(router.address, "slr.invalid").unwrap().await.unwrap();
    let no_hello = endpoint.connect(router.address, "slr.invalid").unwrap().await.unwrap();
    let (mut send, _recv) = no_hello.open_bi().await.unwrap();
    send.write_all(&[0, 0]).await.unwrap();
    assert_eq!(closed(&no_stream).await.0, Code::HelloTimeout);
    assert_eq!(closed(&no_hello).await.0, Code::HelloTimeout);
    router.ended().await;
}

#[tokio::test]
async fn there_is_one_stream() {
    let home = Domain::new("example.net");
    let (_router, connection, _send, _recv) = welcomed(&home).await;
    let second = tokio::time::timeout(Duration::from_millis(300), connection.open_bi()).await;
    assert!(second.is_err(), "the router gives no credit for another stream");
    let one_way = tokio::time::timeout(Duration::from_millis(300), connection.open_uni()).await;
    assert!(one_way.is_err(), "nor for one that goes one way");
}

#[tokio::test]
async fn a_flood_of_datagrams_is_counted_and_others_are_heard() {
    let home = Domain::new("example.net");
    let (mut router, connection, _send, _recv) = welcomed(&home).await;
    let mut other = Host::start(&home.node(Role::Host, "h2"), router.target(Role::Site, "r1"));
    router.welcome().await;
    other.welcomed().await;
    other.offer.send_replace(Some(common::advert(0.5)));
    for round in 0..100 {
        for _ in 0..100 {
            connection.send_datagram(Bytes::from_static(&[0xff; 1_000])).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(connection.close_reason().is_none(), "round {round}");
    }
    let h2 = |event: &HubEvent| match event {
        HubEvent::Child { identity, event: ParentEvent::Advert(news), .. } if identity.name.as_str() == "h2" => {
            (!news.full).then_some(())
        }
        _ => None,
    };
    router.until("h2's adverts", h2).await;
    let counters = router.hub.counters();
    assert!(counters.limited > 500, "{counters:?}");
    let decoded_in_vain = counters.undecoded.iter().sum::<u64>();
    assert!(decoded_in_vain > 0 && decoded_in_vain < 500, "only what the rate allows is looked at: {counters:?}");
}

/// Who asks about flows.
fn asking(event: &HubEvent) -> Option<&str> {
    match event {
        HubEvent::Peer { name, event: PeerEvent::Message(Message::WhoHas(_)), .. } => Some(name.as_str()),
        _ => None,
    }
}

/// Whatever a peer with a good certificate asks, no more questions are looked at than the rate allows; and another one is heard.
#[tokio::test]
async fn a_peer_that_floods_questions_is_limited_and_another_is_heard() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r3"), Role::Site, "127.0.0.1:0");
    let other = Router::with(
        &home.node(Role::Site, "r2"),
        hub_settings(Role::Site, "127.0.0.1:0", vec![router.target(Role::Site, "r3")]),
    );
    // The smaller name dials, so that nobody ever does at this address.
    let hostile = Target { role: Role::Site, name: "r1".parse().unwrap(), addresses: vec![other.address] };
    router.hub.set_peers(vec![hostile, other.target(Role::Site, "r2")]);
    let met = |wanted: &'static str| {
        move |event: &HubEvent| match event {
            HubEvent::Peer { name, event: PeerEvent::Met(_), .. } => (name.as_str() == wanted).then_some(()),
            _ => None,
        }
    };
    router.until("the other", met("r2")).await;
    let endpoint = quic(Some(&home.node(Role::Site, "r1")), ALPN);
    let connection = endpoint.connect(router.address, "slr.invalid").unwrap().await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&hello(Role::Site).encode_frame().unwrap()).await.unwrap();
    router.until("the flood's sender", met("r1")).await;

    let flow = "tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap();
    let asks = Message::WhoHas(WhoHas { flows: vec![flow] });
    let datagram = Bytes::from(asks.encode_datagram().unwrap());
    let (begin, other_asks) = (Instant::now(), Arc::new(asks));
    let flood = async {
        for round in 1..=100 {
            (0..50).for_each(|_| connection.send_datagram(datagram.clone()).unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await; // the sender's pace: its own queue throws away what is faster
            if round % 50 == 0 {
                other.hub.send_to_peer(&"r3".parse().unwrap(), other_asks.clone()).unwrap();
            }
        }
    };
    // In the midst of the flood, and at its end.
    let (mut asked, mut others) = (0, 0);
    let heard = router.until("the other's questions", |event| {
        match asking(event) {
            Some("r2") => others += 1,
            Some(_) => asked += 1,
            None => {}
        }
        (others == 2).then_some(())
    });
    tokio::join!(flood, heard);
    let counters = router.hub.counters();
    let most = 512 + begin.elapsed().as_secs_f64().ceil() as u64 * 512;
    println!("{asked} of 5,000 questions taken in {:?}, {counters:?}", begin.elapsed());
    assert!((512..=most).contains(&asked), "{asked} questions were taken, {most} are allowed");
    assert!(counters.limited > 1_000, "{counters:?}");
    assert!(connection.close_reason().is_none(), "it is not cut off: its rings and mirror are heard");
}

#[tokio::test]
async fn who_has_no_certificate_or_another_protocol_gets_nowhere() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let node = home.node(Role::Host, "h1");
    for (files, alpn, words) in
        [(None, ALPN, "is missing"), (Some(&node), &b"slr/9"[..], "speak different versions of the protocol")]
    {
        let endpoint = quic(files, alpn);
        // The dialling end of TLS is done before the other one has seen its certificate.
        if let Ok(connection) = endpoint.connect(router.address, "slr.invalid").unwrap().await {
            connection.closed().await;
        }
        let why = router.refusal().await;
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn a_source_that_connects_too_often_is_ignored() {
    let home = Domain::new("example.net");
    let mut settings = hub_settings(Role::Site, "127.0.0.1:0", vec![]);
    (settings.endpoint.handshakes_burst, settings.endpoint.handshakes_per_s) = (5, 1);
    let mut router = Router::with(&home.node(Role::Site, "r1"), settings);
    let endpoint = quic(None, ALPN);
    let begin = Instant::now();
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (endpoint, address) = (endpoint.clone(), router.address);
        flood.spawn(async move {
            let connecting = endpoint.connect(address, "slr.invalid").unwrap();
            let _ = tokio::time::timeout(Duration::from_secs(2), connecting).await;
        });
    }
    while flood.join_next().await.is_some() {}
    let counters = router.hub.accept_counters();
    let allowed = 5 + begin.elapsed().as_secs() + 1;
    assert!(counters.refused <= allowed, "{counters:?}, {allowed} allowed");
    assert!(counters.limited >= 90, "{counters:?}");
    // Time heals it.
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    router.welcome().await;
    host.welcomed().await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_may_be() {
    let home = Domain::new("example.net");
    let mut settings = hub_settings(Role::Site, "127.0.0.1:0", vec![]);
    settings.endpoint.connections_max = 2;
    let mut router = Router::with(&home.node(Role::Site, "r1"), settings);
    let mut hosts = Vec::new();
    for name in ["h1", "h2"] {
        hosts.push(Host::start(&home.node(Role::Host, name), router.target(Role::Site, "r1")));
        router.welcome().await;
    }
    let mut third = Host::start(&home.node(Role::Host, "h3"), router.target(Role::Site, "r1"));
    let why = third.lost().await;
    assert!(why.contains("takes no more connections"), "{why}");
    drop(hosts);
    router.welcome().await;
    third.welcomed().await;
}

/// Bytes that are no QUIC at all.
#[tokio::test]
async fn noise_on_the_port_does_no_harm() {
    let home = Domain::new("example.net");
    let mut router = Router::start(&home.node(Role::Site, "r1"), Role::Site, "127.0.0.1:0");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 1u64;
    for len in 0..1_400 {
        let noise: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let to: SocketAddr = router.address;
        socket.send_to(&noise, to).unwrap();
    }
    let mut host = Host::start(&home.node(Role::Host, "h1"), router.target(Role::Site, "r1"));
    let id = router.until("a hello", common::hello).await;
    router.hub.welcome(id, welcome()).unwrap();
    host.welcomed().await;
}
