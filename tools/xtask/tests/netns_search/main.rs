//! Flows that no host of their slot has: other routers are asked who has them.

mod connections;
mod datagrams;
mod scene;
