//! Flows that a router searches for and this host has: waits for the data plane to find some.

use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use slr_dataplane::host::{ClaimReader, Host};
use slr_model::FlowKey;
use tokio::io::unix::AsyncFd;

/// The data plane's claims.
pub struct Claims(AsyncFd<ClaimReader>);

impl Claims {
    /// Reads what the programs of this host find.
    pub fn of(host: &Host) -> Result<Self> {
        let reader = host.claim_reader().context("read claims")?;
        #[expect(
            deprecated,
            reason = "the other constructor is unsafe; the reader's descriptor is its own and never changes"
        )]
        let waiting = AsyncFd::new(reader).context("wait for claims")?;
        Ok(Self(waiting))
    }

    /// The next flows, as many as were found together. May be cancelled: nothing is taken before it returns.
    pub async fn next(&mut self) -> Arc<[FlowKey]> {
        loop {
            let taken = match self.0.readable_mut().await {
                Ok(mut ready) => match ready.get_inner_mut().take() {
                    Ok(flows) if flows.is_empty() => {
                        ready.clear_ready();
                        continue;
                    }
                    Ok(flows) => Ok(flows),
                    Err(error) => {
                        ready.clear_ready();
                        Err(io::Error::other(error))
                    }
                },
                Err(error) => Err(error),
            };
            match taken {
                Ok(flows) => return flows.into(),
                // Flows that are not claimed are searched for as before; the next one wakes us again.
                Err(error) => tracing::warn!("claims are not read: {error}"),
            }
        }
    }
}
