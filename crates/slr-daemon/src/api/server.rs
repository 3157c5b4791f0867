//! The thread that serves.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

use super::answers::Answers;
use super::doors::{Door, Settings, Tls, is_loopback};
use super::openapi::{self, PREFIX};
use super::route::{Asset, Query, Route};
use crate::admin::Asker;

/// Connections of one door; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// From accepting to the last byte.
const LIFETIME: Duration = Duration::from_secs(15);
/// For strangers: until they have shown their certificate.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// A request has no body and few headers.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Why the API is not served.
#[derive(Debug, Error)]
pub enum ApiError {
    /// A door cannot be opened.
    #[error("cannot serve the API at {place}: {source}; [api] names another place, or \"off\"")]
    Listen {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// No thread.
    #[error("cannot start the thread that serves the API: {0}")]
    Thread(#[source] io::Error),
}

/// The API while it is served. Dropped, it closes all doors.
pub struct Api {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    places: Vec<String>,
    socket: Option<PathBuf>,
}

impl Api {
    /// Serves in the network namespace of this thread. `title` and `version` are the OpenAPI document's; without `tls` nobody is served
    /// over HTTPS.
    pub fn start(
        settings: &Settings,
        tls: Option<Tls>,
        (title, version): (&str, &str),
        routes: &'static [Route],
        assets: &'static [Asset],
        asker: Asker,
    ) -> Result<Self, ApiError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ApiError::Thread)?;
        let doors = {
            let _inside = runtime.enter();
            open(settings, tls)?
        };
        let places: Vec<String> = doors.iter().map(Door::place).collect();
        let router = pages(openapi::document(title, version, routes).to_string(), routes, assets, asker);
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async {
                for door in doors {
                    tokio::spawn(accept(door, router.clone()));
                }
                let _ = stopped.await;
            });
        };
        let thread = std::thread::Builder::new().name("api".into()).spawn(serve).map_err(ApiError::Thread)?;
        let socket = settings.socket.as_ref().map(|socket| socket.path.clone());
        Ok(Self { stop: Some(stop), thread: Some(thread), places, socket })
    }

    /// Where it is served, with ports that the kernel chose if 0 was asked for.
    pub fn places(&self) -> &[String] {
        &self.places
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that serves the API had failed");
        }
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

fn open(settings: &Settings, tls: Option<Tls>) -> Result<Vec<Door>, ApiError> {
    let refused = |place: String| move |source| ApiError::Listen { place, source };
    let mut doors = Vec::new();
    if let Some(socket) = &settings.socket {
        doors.push(Door::socket(socket).map_err(refused(socket.path.display().to_string()))?);
    }
    if let Some(address) = settings.page {
        doors.push(Door::page(address).map_err(refused(address.to_string()))?);
    }
    for address in tls.iter().flat_map(|_| &settings.listen) {
        let tls = tls.clone().expect("there is one");
        doors.push(Door::https(*address, tls).map_err(refused(address.to_string()))?);
    }
    Ok(doors)
}

/// What all routes share.
struct Shared {
    answers: Answers,
}

fn pages(document: String, routes: &'static [Route], assets: &'static [Asset], asker: Asker) -> Router {
    let mut router = Router::new();
    for route in routes {
        let handler = move |State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery| async move {
            answer(&shared, route, &query.unwrap_or_default()).await
        };
        router = router.route(&format!("{PREFIX}{}", route.name), get(handler));
    }
    for asset in assets {
        let kind = HeaderValue::from_static(asset.kind);
        router = router.route(asset.path, get(move || async move { ([(header::CONTENT_TYPE, kind)], asset.body) }));
    }
    let json = HeaderValue::from_static("application/json");
    let document = Arc::<str>::from(document);
    let serve_document = move || async move { ([(header::CONTENT_TYPE, json)], document.to_string()) };
    router = router.route(&format!("{PREFIX}openapi.json"), get(serve_document));
    let names: Vec<_> = routes.iter().map(|route| route.name).collect();
    let known = format!("under {PREFIX} there are: openapi.json, {}", names.join(", "));
    let other = move || async move { refusal(StatusCode::NOT_FOUND, &known) };
    router.fallback(other).layer(map_response(careful)).with_state(Arc::new(Shared { answers: Answers::new(asker) }))
}

async fn answer(shared: &Shared, route: &Route, query: &str) -> Response {
    let request = match Query::parse(query, route.parameters).and_then(|query| (route.request)(&query)) {
        Ok(request) => request,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why),
    };
    match shared.answers.of(request).await {
        Ok(body) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response(),
        Err(why) => refusal(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn refusal(status: StatusCode, why: &str) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], serde_json::json!({ "error": why }).to_string()).into_response()
}

/// What a browser has to know: nothing is fetched from elsewhere, nothing is kept, and no other page may hold this one in a frame.
async fn careful(mut response: Response) -> Response {
    for (name, value) in [
        ("content-security-policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// At the loopback address: a request that names another host comes from a page elsewhere.
async fn from_here(request: Request<Body>, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_loopback(host) {
        return next.run(request).await;
    }
    refusal(
        StatusCode::FORBIDDEN,
        "this is served to this machine alone: ask for it at localhost, through ssh -L for instance",
    )
}

async fn accept(door: Door, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (router, place) = match &door {
        Door::Page(..) => (router.layer(from_fn(from_here)), door.place()),
        _ => (router, door.place()),
    };
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = match &door {
            Door::Socket(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            Door::Page(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Door::Https(listener, _, tls) => {
                listener.accept().await.map(|(stream, _)| Stream::Tls(stream, tls.clone()))
            }
        };
        match accepted {
            Ok(stream) => {
                let router = router.clone();
                tokio::spawn(async move {
                    if tokio::time::timeout(LIFETIME, stream.serve(router)).await.is_err() {
                        tracing::debug!("a connection to the API has had its time");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: do not spin.
                tracing::warn!(%error, place, "the API cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
    Tls(tokio::net::TcpStream, Tls),
}

impl Stream {
    async fn serve(self, router: Router) {
        match self {
            Self::Unix(stream) => converse(stream, router).await,
            Self::Tcp(stream) => converse(stream, router).await,
            Self::Tls(stream, tls) => {
                let handshake = TlsAcceptor::from(tls()).accept(stream);
                match tokio::time::timeout(HANDSHAKE, handshake).await {
                    Ok(Ok(stream)) => converse(stream, router).await,
                    Ok(Err(error)) => tracing::info!("the API does not let in who comes: {error}"),
                    Err(_) => tracing::debug!("who came to the API has shown no certificate in time"),
                }
            }
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(LIFETIME).max_buf_size(REQUEST_BYTES_MAX);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}

#[cfg(test)]
mod tests;
