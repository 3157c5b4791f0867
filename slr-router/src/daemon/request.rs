//! The questions and orders of the admin socket, which the HTTP API asks a part of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use slr_model::{FlowKey, NodeName, ServiceKey};

use super::Order;
use crate::{forget, show};

/// What the admin socket is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Read the configuration again.
    Reload,
    /// Say what is known.
    Show(show::What),
    /// Ask a child to drain, or to end that.
    Order {
        /// Which.
        host: NodeName,
        /// `drain` or `undrain`.
        action: Order,
        /// Who asks, for the host's log.
        by: String,
    },
    /// Believe that the held hosts of a service are lost.
    ReleaseHold {
        /// Which service.
        service: ServiceKey,
    },
    /// Forget a host that is not there any more.
    Remove {
        /// Which.
        host: NodeName,
    },
    /// Take this router out of service, or back.
    Announce {
        /// Out of it.
        drain: bool,
    },
    /// Forget flows.
    ForgetFlows(forget::Which),
    /// The router at a glance.
    Overview,
    /// Shares and costs of the last minutes.
    History,
    /// Say what becomes of a flow.
    Trace {
        /// Which.
        flow: FlowKey,
    },
    /// Have packets captured.
    Capture(slr_capture::Order),
    /// Say what another configuration would move.
    Diff {
        /// The file.
        config: PathBuf,
    },
}
