//! The table of packets: what goes in, by which reason it ends, what comes out. Through the real program, by
//! `BPF_PROG_TEST_RUN`; nothing is attached and nothing is sent.

#[path = "../common/mod.rs"]
mod common;

mod adverts;
mod case;
mod chains;
mod coverage;
mod ends;
mod flows;
mod fragments;
mod frames;
mod headers;
mod hosts;
mod icmp;
mod limits;
mod malformed;
mod mtu;
mod routes;
mod searches;
mod truncated;
mod tunnels;
mod udp_ends;
