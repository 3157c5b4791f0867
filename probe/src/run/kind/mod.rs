//! The kinds of flow. Each is one function from a live flow to its outcome; [`drive`] chooses among them.

mod download;
mod exchange;
mod http;
mod interactive;
mod keepalive;
mod udp;
mod upload;

use super::{
    failure::Failure,
    flow::{Flow, Outcome},
};

/// What a flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowKind {
    Http,
    Keepalive,
    Download,
    Upload,
    Interactive,
    Udp,
    Idle,
}

impl FlowKind {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Keepalive, Self::Download, Self::Upload, Self::Interactive, Self::Udp, Self::Idle];

    /// The name in options and reports; stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Keepalive => "keepalive",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Interactive => "interactive",
            Self::Udp => "udp",
            Self::Idle => "idle",
        }
    }

    /// Flows of this kind come to an end by themselves, and another takes their place while there is work left; the
    /// others last as long as the run.
    pub fn is_finite(self) -> bool {
        !matches!(self, Self::Interactive | Self::Udp | Self::Idle)
    }

    /// What one read takes at most: a head for short answers, a good part of a socket buffer for long ones, a whole
    /// datagram for UDP.
    fn buffer_bytes(self) -> usize {
        match self {
            Self::Http | Self::Keepalive | Self::Upload => crate::http::head::MAX_HEAD_BYTES,
            Self::Download => 128 * 1024,
            Self::Interactive | Self::Idle => 4096,
            Self::Udp => crate::wire::MAX_MESSAGE_BYTES,
        }
    }
}

/// Memory that one flow after another uses.
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Scratch {
    /// Memory for flows of `kind`.
    pub fn new(kind: FlowKind) -> Self {
        Self { input: vec![0; kind.buffer_bytes()], output: Vec::new() }
    }
}

/// Runs one flow to its end.
pub async fn drive(flow: &mut Flow, scratch: &mut Scratch) -> Result<Outcome, Failure> {
    match flow.group.plan.kind {
        FlowKind::Http => http::run(flow, scratch).await,
        FlowKind::Keepalive => keepalive::run(flow, scratch).await,
        FlowKind::Download => download::run(flow, scratch).await,
        FlowKind::Upload => upload::run(flow, scratch).await,
        FlowKind::Interactive | FlowKind::Idle => interactive::run(flow, scratch).await,
        FlowKind::Udp => udp::run(flow, scratch).await,
    }
}
