//! The edge that every daemon has: configuration files, logs, signals, the admin socket, tables for people.
//!
//! The binaries share this crate so that an operator meets one set of manners: a broken configuration shows its line, a
//! `show` command is one JSON line each way on a Unix socket, SIGHUP reloads all or nothing, SIGTERM ends. Nothing here
//! knows what a router or a host is.

pub mod admin;
pub mod api;
pub mod config;
pub mod doctor;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod output;
pub mod route;
pub mod signals;
pub mod table;
