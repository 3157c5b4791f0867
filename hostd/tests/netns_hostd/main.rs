//! The real daemon on a node of a lab, real servers behind it, and clients whose datagrams reach it through tunnels.

mod life;
mod scene;
mod traffic;
mod tunneller;
