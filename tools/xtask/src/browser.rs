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
use nix::unistd::{dup2_raw, pipe};
use serde_json::{Value, json};

/// How long anything may take in a browser.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page. Dropped, it ends.
pub struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
    to: File,
    from: BufReader<File>,
    session: String,
    last: u64,
}

impl Browser {
    /// Starts `command`, which is Chromium's program in the namespace where it is to run, and opens an address.
    pub fn open(mut command: Command, address: &str, (width, height): (u32, u32)) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let (their_in, to) = pipe().context("a pipe")?;
        let (from, their_out) = pipe().context("a pipe")?;
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--remote-debugging-pipe", "--hide-scrollbars"]).arg(format!("--window-size={width},{height}"));
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ends: [OwnedFd; 2] = [their_in, their_out];
        #[expect(unsafe_code, reason = "between fork and exec there is dup2 alone, which is safe to call there")]
        // SAFETY: dup2 is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                // Above 3 and 4 first: one of the ends may be 3 or 4 itself.
                let high = [10, 11];
                for (end, place) in ends.iter().zip(high) {
                    std::mem::forget(dup2_raw(end, place)?);
                }
                for (place, wanted) in high.into_iter().zip([3, 4]) {
                    std::mem::forget(dup2_raw(BorrowedFd::borrow_raw(place), wanted)?);
                }
                Ok(())
            });
        }
        let child = command.spawn().context("start chromium; tools/prepare.sh installs it")?;
        drop(command);
        let (to, from) = (File::from(to), BufReader::new(File::from(from)));
        let mut browser = Self { child, _profile: profile, to, from, session: String::new(), last: 0 };
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
            ensure!(bytes.pop() == Some(0), "chromium has ended");
            let mut answer: Value = serde_json::from_slice(&bytes).context("chromium's JSON")?;
            if answer["id"] == json!(self.last) {
                ensure!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
        }
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

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
