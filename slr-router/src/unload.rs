//! `slr-router unload`: the end of forwarding.

use std::path::Path;

use anyhow::{Result, bail};
use slr_daemon::output::print;
use slr_dataplane::router::Router;

use crate::config::Settings;
use crate::show;

/// Removes the links and pins that the configuration names.
pub fn run(config: &Path) -> Result<()> {
    let settings = Settings::load(config)?;
    if show::is_answered(&settings.admin_socket) {
        bail!(
            "a daemon answers at {}: stop it first, else it goes on with what it has open",
            settings.admin_socket.display()
        );
    }
    let pins = &settings.dataplane.pin_path;
    if !pins.exists() {
        print(format!("nothing is pinned under {}", pins.display()));
        return Ok(());
    }
    Router::unload(pins)?;
    print(format!("removed the program, its flows and its tables under {}", pins.display()));
    Ok(())
}
