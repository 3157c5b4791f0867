//! The host's programs, packet by packet: what comes in, the reason it ends with, what goes on.

mod bed;
mod chain;
mod change;
mod claims;
mod deliver;
mod egress;
mod keepalive;
mod malformed;
mod stalls;
mod tables;
mod upgrade;
