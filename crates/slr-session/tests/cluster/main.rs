//! Clusters: who publishes, what the others hold, and what happens when members come, go, and do not hear each other.

mod life;
mod model;
mod world;
