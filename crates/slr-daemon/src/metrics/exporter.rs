//! The endpoint: a thread with an HTTP server of three pages.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use thiserror::Error;
use tokio::sync::oneshot;

use super::listener::Listener;
use super::page::Page;
use super::text::Text;

/// What a daemon knows of itself at a moment. Written out on the exporter's thread, when somebody asks.
pub trait Snapshot: Send + Sync + 'static {
    /// Writes all of it.
    fn write(&self, text: &mut Text);
}

/// Why there is no endpoint.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// The address cannot be had.
    #[error("cannot serve metrics at {address}: {error}; `metrics.listen` names another address, or \"off\"")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// No thread.
    #[error("cannot start the thread that serves metrics: {0}")]
    Thread(#[source] io::Error),
}

/// The loop's end of the endpoint. Dropped, it closes it.
pub struct Exporter {
    page: Arc<Page>,
    thread: Option<Thread>,
}

struct Thread {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    handle: JoinHandle<()>,
}

impl Exporter {
    /// Serves at this address, in the network namespace of this thread; `None`: nowhere, and all calls do nothing that
    /// anybody sees.
    pub fn start(address: Option<SocketAddr>) -> Result<Self, ExporterError> {
        let page = Arc::new(Page::new(Instant::now()));
        let thread = match address {
            Some(address) => Some(start(address, Arc::clone(&page))?),
            None => None,
        };
        Ok(Self { page, thread })
    }

    /// Where it serves: with the port that the kernel chose if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.thread.as_ref().map(|thread| thread.address)
    }

    /// The loop turns. To be said in every turn, and every 5 s at least.
    pub fn turned(&self) {
        self.page.turned(Instant::now());
    }

    /// Whether the daemon does its work: a configuration is in force, the data plane attached. If not, why not, for people.
    pub fn ready(&self, ready: Result<(), String>) {
        self.page.set_ready(ready);
    }

    /// Hands over what is known now; the last one is dropped.
    pub fn publish(&self, snapshot: impl Snapshot) {
        self.page.publish(Box::new(snapshot), Instant::now());
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let Some(Thread { stop, handle, .. }) = self.thread.take() else { return };
        let _ = stop.send(());
        if handle.join().is_err() {
            tracing::error!("the thread that serves metrics had failed");
        }
    }
}

fn start(address: SocketAddr, page: Arc<Page>) -> Result<Thread, ExporterError> {
    let listen = || {
        let tcp = TcpListener::bind(address)?;
        tcp.set_nonblocking(true)?;
        Ok((tcp.local_addr()?, tcp))
    };
    let (address, tcp) = listen().map_err(|error| ExporterError::Listen { address, error })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ExporterError::Thread)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = move || {
        runtime.block_on(async {
            let tcp = match tokio::net::TcpListener::from_std(tcp) {
                Ok(tcp) => tcp,
                Err(error) => return tracing::error!("metrics are not served: {error}"),
            };
            let server = axum::serve(Listener::new(tcp), pages(page));
            tokio::select! {
                biased;
                _ = stopped => {}
                result = server => tracing::error!(?result, "metrics are served no longer"),
            }
        });
    };
    let handle = std::thread::Builder::new().name("metrics".into()).spawn(serve).map_err(ExporterError::Thread)?;
    Ok(Thread { address, stop, handle })
}

fn pages(page: Arc<Page>) -> Router {
    let metrics = |State(page): State<Arc<Page>>| async move {
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        ([(header::CONTENT_TYPE, kind)], page.metrics(Instant::now())).into_response()
    };
    let health = |State(page): State<Arc<Page>>| async move { verdict(page.health(Instant::now())) };
    let readiness = |State(page): State<Arc<Page>>| async move { verdict(page.readiness(Instant::now())) };
    let other = || async { (StatusCode::NOT_FOUND, "There are /metrics, /healthz and /readyz.\n") };
    let router = Router::new().route("/metrics", get(metrics)).route("/healthz", get(health));
    // A connection is one request, so that its bounds are a request's.
    let close = |mut response: Response| async {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    };
    let router = router.route("/readyz", get(readiness)).fallback(other);
    router.layer(axum::middleware::map_response(close)).with_state(page)
}

fn verdict(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
