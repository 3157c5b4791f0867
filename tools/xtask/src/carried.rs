//! Bytes that links of a lab carry, as the kernels of the nodes at their ends count them: with link headers.

use std::ops::Sub;

use anyhow::{Context, Result};
use serde_json::Value;
use slr_testkit::lab::Lab;

/// What a link has carried, seen from one of its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes that came in from it.
    pub received: u64,
    /// Bytes that left over it.
    pub sent: u64,
}

impl Carried {
    /// In both directions.
    pub fn sum(self) -> u64 {
        self.received + self.sent
    }
}

impl Sub for Carried {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { received: self.received - before.received, sent: self.sent - before.sent }
    }
}

/// What the link between a node and another one has carried so far.
pub fn carried(lab: &Lab, node: &str, other: &str) -> Result<Carried> {
    let text = lab.sh(node, &format!("ip -json -statistics link show to-{other}"))?;
    let answer: Value = serde_json::from_str(&text).context("JSON of ip link")?;
    let bytes = |way: &str| answer[0]["stats64"][way]["bytes"].as_u64();
    let (received, sent) = bytes("rx").zip(bytes("tx")).with_context(|| format!("no statistics in {text}"))?;
    Ok(Carried { received, sent })
}
