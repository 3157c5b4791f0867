//! What hosts say of their flows by way of their clients: real daemons, a real kernel that returns the echoes; and what is sent to
//! draw a flow to where it does not belong.

mod forged;
mod grants;
mod recovered;
mod scene;
