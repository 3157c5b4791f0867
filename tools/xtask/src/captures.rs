//! What tests of `capture` ask of a node of a site.

use anyhow::{Result, ensure};

use crate::site::Site;

/// The program of a node.
#[must_use]
pub fn program(node: &str) -> &'static str {
    if node == "slr1" { "slr-router" } else { "hostd" }
}

/// Whether the program that captures is on some interface of a node.
pub fn is_on(site: &Site, node: &str) -> Result<bool> {
    let name = if node == "slr1" { "slr_router_capt" } else { "slr_host_captur" };
    let links = site.lab().sh(node, "ip -details link show")?;
    ensure!(links.contains("prog/xdp"), "a program is always there: {links}");
    Ok(links.contains(name))
}
