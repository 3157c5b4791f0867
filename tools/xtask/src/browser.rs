//! Debian's Chromium, headless, driven by the DevTools protocol over a pipe: JSON messages that end with a zero byte, on its descriptors 3
//! and 4. No port is opened, so a browser in a network namespace can be driven from outside.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{dup2_raw, pipe2};
use serde_json::{Value, json};

/// How long anything may take in a browser.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the profile's folder.
const SAID: &str = "stderr";

/// A browser with one page. Dropped, it ends.
pub struct Browser {
    child: Child,
    profile: tempfile::TempDir,
    to: File,
    from: BufReader<File>,
    session: String,
    last: u64,
}

impl Browser {
    /// Starts `command`, which is Chromium's program in the namespace where it is to run, and opens an address.
    pub fn open(mut command: Command, address: &str, (width, height): (u32, u32)) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--remote-debugging-pipe", "--hide-scrollbars"]).arg(format!("--window-size={width},{height}"));
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let said = File::create(profile.path().join(SAID)).context("a file for what it says")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let (to, from) = piped(&mut command)?;
        let child = command.spawn().context("start chromium; tools/prepare.sh installs it")?;
        drop(command);
        let from = BufReader::new(from);
        let mut browser = Self { child, profile, to, from, session: String::new(), last: 0 };
        let target = browser.send("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.send("Target.attachToTarget", attach)?;
        browser.session = session["sessionId"].as_str().context("a session")?.to_owned();
        browser.send("Page.enable", json!({}))?;
        browser.send("Page.navigate", json!({ "url": address }))?;
        browser.until("document.readyState === 'complete'", "the page is loaded")?;
        Ok(browser)
    }

    /// Sends a command and gives its result; events in between are passed over.
    pub fn send(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).context("tell chromium")?;
        let begun = Instant::now();
        loop {
            let mut bytes = Vec::new();
            self.wait(begun)?;
            self.from.read_until(0, &mut bytes).context("hear chromium")?;
            ensure!(bytes.pop() == Some(0), "chromium has ended: {}", self.said());
            let mut answer: Value = serde_json::from_slice(&bytes).context("chromium's JSON")?;
            if answer["id"] == json!(self.last) {
                ensure!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
        }
    }

    /// What it said last on its standard error.
    fn said(&self) -> String {
        let text = std::fs::read(self.profile.path().join(SAID)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn wait(&self, begun: Instant) -> Result<()> {
        if !self.from.buffer().is_empty() {
            return Ok(());
        }
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.from.get_ref().as_fd(), PollFlags::POLLIN)];
        ensure!(poll(&mut ready, timeout)? > 0, "chromium does not answer within {PATIENCE:?}");
        Ok(())
    }

    /// What an expression of JavaScript comes to; promises are waited for.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.send("Runtime.evaluate", params)?;
        if let Some(problem) = result.get("exceptionDetails") {
            bail!("{expression}: {problem}");
        }
        Ok(result["result"]["value"].take())
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str, what: &str) -> Result<()> {
        let begun = Instant::now();
        while self.evaluate(expression)? != json!(true) {
            ensure!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Presses and releases a key, such as `Tab` or `Enter`.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            other => bail!("no code of the key {other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.send("Input.dispatchKeyEvent", params)?;
        }
        Ok(())
    }

    /// Writes what is to be seen of the whole page to a PNG.
    pub fn screenshot(&mut self, path: &Path) -> Result<()> {
        let shot = self.send("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))?;
        let data = shot["data"].as_str().context("a picture")?;
        let png = base64::engine::general_purpose::STANDARD.decode(data).context("a picture")?;
        std::fs::write(path, png).with_context(|| format!("write {}", path.display()))
    }
}

/// Has a command read from a pipe on its descriptor 3 and write to one on 4; the ends to write to it and to read from it.
fn piped(command: &mut Command) -> Result<(File, File)> {
    let (their_in, to) = pipe2(OFlag::O_CLOEXEC).context("a pipe")?;
    let (from, their_out) = pipe2(OFlag::O_CLOEXEC).context("a pipe")?;
    let ends: [OwnedFd; 2] = [their_in, their_out];
    #[expect(
        unsafe_code,
        reason = "between fork and exec descriptors are duplicated and nothing else, which is safe there"
    )]
    // SAFETY: fcntl and dup2 are async-signal-safe, and nothing here allocates.
    unsafe {
        command.pre_exec(move || {
            // To new places above both first: an end may be 3 or 4 itself.
            let moved = |end: &OwnedFd| fcntl(end, FcntlArg::F_DUPFD_CLOEXEC(5));
            let high = [moved(&ends[0])?, moved(&ends[1])?];
            for (place, wanted) in high.into_iter().zip([3, 4]) {
                std::mem::forget(dup2_raw(BorrowedFd::borrow_raw(place), wanted)?);
            }
            Ok(())
        });
    }
    Ok((File::from(to), File::from(from)))
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// It once moved the ends by way of 10 and 11, and lost the one that was 10 already.
    #[test]
    fn pipes_come_through_whatever_numbers_their_ends_have() {
        let mut kept = Vec::new();
        for _ in 0..12 {
            let mut shell = Command::new("sh");
            shell.args(["-c", "cat <&3 >&4"]);
            let (mut to, mut from) = piped(&mut shell).unwrap();
            let mut child = shell.spawn().unwrap();
            drop(shell);
            to.write_all(b"through").unwrap();
            drop(to);
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            assert_eq!(text, "through", "with {} descriptors more", kept.len());
            assert!(child.wait().unwrap().success());
            kept.push(File::open("/dev/null").unwrap());
        }
    }
}
