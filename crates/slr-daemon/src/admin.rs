//! The admin socket: a Unix socket on which a daemon answers `show` and the like.
//!
//! One request, one answer, each a line of JSON: a person can speak it with `socat`. An answer is `{"ok": value}` or
//! `{"error": "text"}`. Connections are read on tasks of their own; requests reach the daemon's loop one at a time as
//! [`Call`]s, so that its state has one owner and needs no lock. Dropping [`Calls`] closes the socket and removes it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, sync::Arc};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest request: a command with a few words.
const REQUEST_LEN_MAX: u64 = 64 << 10;
/// Connections served at a time; others wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16;
/// How long a peer may take to send its request, and the daemon to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the admin socket cannot be used.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Another process answers there.
    #[error("{path} is in use: another daemon answers there; stop it, or give this one another admin socket")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon's end could not be made.
    #[error("cannot listen on {path}: {source}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("cannot reach the daemon at {path}: {source}; is it running?")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
    /// The answer is not what was expected: another version of the daemon?
    #[error("the daemon at {path} gave an answer that this program cannot read: {source}")]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A request, and the way to answer it.
#[derive(Debug)]
pub struct Call {
    /// What was asked.
    pub request: Value,
    reply: oneshot::Sender<Value>,
}

impl Call {
    /// The request as the daemon's own type, or the text to refuse it with.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_value(self.request.clone()).map_err(|e| format!("request not understood: {e}"))
    }

    /// Answers. Whoever asked may be gone; that is no error.
    pub fn answer(self, result: Result<impl Serialize, String>) {
        let value = match result.and_then(|v| serde_json::to_value(v).map_err(|e| e.to_string())) {
            Ok(value) => json!({ "ok": value }),
            Err(text) => json!({ "error": text }),
        };
        let _ = self.reply.send(value);
    }
}

/// A way to the daemon's loop besides the socket.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Call>);

impl Asker {
    /// What the loop answers: `{"ok": value}` or `{"error": "text"}`. It is waited for as long as on the socket.
    pub async fn ask(&self, request: Value) -> Value {
        ask(request, &self.0).await
    }
}

/// The daemon's end of the socket.
#[derive(Debug)]
pub struct Calls {
    path: PathBuf,
    asker: Asker,
    calls: mpsc::Receiver<Call>,
    acceptor: JoinHandle<()>,
}

impl Calls {
    /// Another way to ask.
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// The next request. Cancel-safe; never ends.
    pub async fn next(&mut self) -> Call {
        match self.calls.recv().await {
            Some(call) => call,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.acceptor.abort();
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens on `path`, which only root may then use. A socket left by a killed daemon is replaced. Needs a tokio runtime.
pub fn serve(path: impl AsRef<Path>) -> Result<Calls, AdminError> {
    let path = path.as_ref().to_owned();
    if StdStream::connect(&path).is_ok() {
        return Err(AdminError::InUse { path });
    }
    let listener = listen(&path).map_err(|source| AdminError::Listen { path: path.clone(), source })?;
    let (send, calls) = mpsc::channel(CONNECTIONS_MAX);
    let acceptor = tokio::spawn(accept(listener, send.clone()));
    Ok(Calls { path, asker: Asker(send), calls, acceptor })
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, calls).await {
                        tracing::debug!(%error, "admin connection ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: do not spin.
                tracing::warn!(%error, "admin socket cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    timeout(PATIENCE, tokio::io::BufReader::new(read.take(REQUEST_LEN_MAX)).read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => ask(request, &calls).await,
        Err(error) => json!({ "error": format!("a request is one line of JSON: {error}") }),
    };
    write.write_all(format!("{answer}\n").as_bytes()).await
}

async fn ask(request: Value, calls: &mpsc::Sender<Call>) -> Value {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        calls.send(Call { request, reply }).await.ok()?;
        answer.await.ok()
    };
    timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_else(|| json!({ "error": "the daemon did not answer" }))
}

/// Asks the daemon at `path`; for the command line, so it simply waits.
pub fn request<R: DeserializeOwned>(path: impl AsRef<Path>, request: &impl Serialize) -> Result<R, AdminError> {
    let path = path.as_ref();
    let line = exchange(path, request).map_err(|source| AdminError::Unreachable { path: path.to_owned(), source })?;
    let unreadable = |source| AdminError::Answer { path: path.to_owned(), source };
    let mut answer: Value = serde_json::from_str(&line).map_err(unreadable)?;
    if let Some(text) = answer.get("error").and_then(Value::as_str) {
        return Err(AdminError::Refused(text.to_owned()));
    }
    serde_json::from_value(answer["ok"].take()).map_err(unreadable)
}

fn exchange(path: &Path, request: &impl Serialize) -> io::Result<String> {
    let mut stream = StdStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves until `requests` were answered; the client side runs beside it and its result is returned.
    fn with_daemon<R: Send + 'static>(
        path: PathBuf,
        requests: usize,
        client: impl FnOnce(&Path) -> R + Send + 'static,
    ) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut calls = serve(&path).unwrap();
            let client = tokio::task::spawn_blocking(move || client(&path));
            for _ in 0..requests {
                let call = calls.next().await;
                let result = call.parse::<u32>().and_then(|n| n.checked_mul(2).ok_or("too large".to_owned()));
                call.answer(result);
            }
            client.await.unwrap()
        })
    }

    fn socket() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/admin.sock");
        (folder, path)
    }

    #[test]
    fn requests_are_answered_and_refusals_are_errors() {
        let (_folder, path) = socket();
        let (good, large, odd) = with_daemon(path.clone(), 3, |path| {
            (request::<u32>(path, &21), request::<u32>(path, &u32::MAX), request::<u32>(path, &"x"))
        });
        assert_eq!(good.unwrap(), 42);
        assert_eq!(large.unwrap_err().to_string(), "too large");
        assert!(odd.unwrap_err().to_string().starts_with("request not understood"));
        assert!(!path.exists(), "the socket is removed with its owner");
    }

    #[test]
    fn a_socket_left_by_a_killed_daemon_is_replaced_and_a_live_one_is_not() {
        let (_folder, path) = socket();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = with_daemon(path, 1, |path| {
            let path = path.to_owned();
            let inner = path.clone();
            let second = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { serve(&inner).map(|_| ()) })
            });
            let second = second.join().unwrap();
            request::<u32>(&path, &1).unwrap();
            second
        });
        assert!(matches!(second, Err(AdminError::InUse { .. })), "{second:?}");
    }

    #[test]
    fn nobody_there_is_said_plainly() {
        let (_folder, path) = socket();
        let error = request::<u32>(&path, &1).unwrap_err().to_string();
        assert!(error.contains("is it running?"), "{error}");
    }
}
