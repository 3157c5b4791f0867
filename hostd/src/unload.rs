//! `hostd unload`: the machine as it was before.

use std::path::Path;

use anyhow::{Context, Result, bail};
use slr_daemon::output;
use slr_dataplane::host::Host;

use crate::config::Settings;
use crate::net::{self, Groups, Links, sysctl};

/// Removes what `hostd run` with this configuration made, whether it ended well or not.
pub fn run(config: &Path) -> Result<()> {
    let settings = Settings::load(config)?;
    if std::os::unix::net::UnixStream::connect(&settings.admin_socket).is_ok() {
        bail!("a daemon answers at {}: stop it first", settings.admin_socket.display());
    }
    Host::unload(&settings.pin_path).context("pins")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plan = runtime.block_on(async { net::remove_extra(&Links::open()?, &Groups::new()).await })?;
    sysctl::restore(&sysctl::memory(&settings.admin_socket))?;
    // A killed daemon leaves its socket behind.
    if let Err(e) = std::fs::remove_file(&settings.admin_socket)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(e).with_context(|| format!("remove {}", settings.admin_socket.display()));
    }
    output::print(format!(
        "unloaded; interfaces removed: {}",
        if plan.delete.is_empty() { "none".to_owned() } else { plan.delete.join(" ") }
    ));
    Ok(())
}
