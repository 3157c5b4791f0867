//! The HTTP API: what a daemon shows on its admin socket, to be read by programs and browsers.
//!
//! A daemon has a list of [`Route`]s. Each turns the query of a GET into a request of the admin socket, which the daemon's loop
//! answers as it answers the command line: there is one set of answers, and nothing here can change anything. The same list makes the
//! OpenAPI document (`/api/v1/openapi.json`). What does not change, a web page for one, is an [`Asset`].
//!
//! Three doors, each with its own right to come in:
//!
//! | door | who | may read because |
//! |---|---|---|
//! | a Unix socket | processes of this machine | the file's permissions let them open it |
//! | plain HTTP at a loopback address | whoever is on this machine, a browser through `ssh -L` too | it is bound to loopback; requests that name another host are refused (a page elsewhere that has its name lead here) |
//! | HTTPS | other nodes | TLS as the daemon has it: with certificates of the trust domain, see [`Tls`] |
//!
//! It runs on a thread of its own with bounds on everything a stranger may hold: connections, their time, the length of a request. An
//! answer is used again for [`FRESH`], so that many who watch cost the loop as much as one.

mod answers;
mod client;
mod config;
mod doors;
mod openapi;
mod route;
mod server;

pub use answers::FRESH;
pub use client::{AskError, ask};
pub use config::{DEFAULT_PORT, File};
pub use doors::{Settings, Socket, Tls};
pub use openapi::{PREFIX, document};
pub use route::{Answer, Asset, Parameter, Query, Route};
pub use server::{Api, ApiError};
