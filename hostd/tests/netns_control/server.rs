//! Servers on the host that can be stopped, frozen and broken: real processes.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use slr_testkit::lab::Process;

use crate::scene::Scene;

/// An HTTP server of both families that answers with the status in a file.
pub struct Http {
    status: PathBuf,
    port: u16,
    process: Process,
}

impl Http {
    pub fn start(scene: &Scene, port: u16) -> Self {
        let status = scene.folder().join(format!("status-{port}"));
        std::fs::write(&status, "200").unwrap();
        let process = serve(scene, port, &status);
        Self { status, port, process }
    }

    pub fn answer(&self, status: u16) {
        std::fs::write(&self.status, status.to_string()).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    /// Killed, with its listener.
    pub fn kill(&self) {
        self.process.kill().unwrap();
    }

    pub fn restart(&mut self, scene: &Scene) {
        self.process = serve(scene, self.port, &self.status);
    }
}

fn serve(scene: &Scene, port: u16, status: &Path) -> Process {
    // The shell's `read` takes the request's first line; the rest needs no reading for an answer to arrive.
    let script = format!(
        "read line; printf \"HTTP/1.1 $(cat {}) x\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\nok\"",
        status.display()
    );
    let path = status.with_extension("sh");
    std::fs::write(&path, script).unwrap();
    let mut command = Command::new("socat");
    let listen = format!("TCP6-LISTEN:{port},fork,reuseaddr,ipv6only=0,backlog=128");
    command.arg(listen).arg(format!("EXEC:sh {}", path.display()));
    scene.lab.spawn("h", &format!("http-{port}"), command).unwrap()
}

/// A UDP server on the wildcard address that echoes.
pub fn udp_echo(scene: &Scene, port: u16) -> Process {
    let mut command = Command::new("socat");
    command.arg(format!("UDP6-RECVFROM:{port},fork,ipv6only=0")).arg("EXEC:cat");
    scene.lab.spawn("h", &format!("udp-{port}"), command).unwrap()
}
