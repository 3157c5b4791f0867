//! Conversations: every event in every state, then two ends over a network that loses, delays and reorders.

mod child_table;
mod common;
mod life;
mod model;
mod parent_table;
mod peer_table;
