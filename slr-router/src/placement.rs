//! From what hosts say to what the rings shall hold. Pure.

pub mod routes;
