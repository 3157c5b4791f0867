//! The real daemon with certificates, a parent that is the real control channel, real servers at virtual addresses, and
//! clients whose datagrams arrive through tunnels.

mod drain;
mod health;
mod load;
mod parent;
mod peers;
mod scene;
mod server;
#[path = "../netns_hostd/tunneller.rs"]
mod tunneller;
