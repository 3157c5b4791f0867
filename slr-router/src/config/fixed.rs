//! Settings that a running daemon cannot change: tables have their size, and somebody listens at the socket.

use std::ops::Range;

use slr_daemon::config::Complaint;
use toml::Spanned;

use super::{Settings, file};

/// Where the settings stand that a running daemon cannot change.
pub struct Fixed {
    pin_path: Range<usize>,
    flows: Range<usize>,
    new_flows: Range<usize>,
    socket: Range<usize>,
    control: Range<usize>,
    metrics: Range<usize>,
    announce: Range<usize>,
}

impl Fixed {
    /// Remembers the places, before the file is taken apart.
    pub fn spans(file: &file::File) -> Self {
        // A line that was removed has no place: the complaint is about the file's beginning then.
        fn span<T>(value: &Option<Spanned<T>>) -> Range<usize> {
            value.as_ref().map_or(0..0, Spanned::span)
        }
        Self {
            pin_path: span(&file.dataplane.pin_path),
            flows: span(&file.dataplane.flows_per_family),
            new_flows: span(&file.dataplane.new_flows_per_family),
            socket: span(&file.admin.socket),
            control: span(&file.control),
            metrics: span(&file.metrics.listen),
            announce: span(&file.announce),
        }
    }

    /// Complains about each that differs from what the daemon runs with.
    pub fn compare(self, running: &Settings, new: &Settings, found: &mut Vec<Complaint>) {
        let mut same = |is: bool, span: Range<usize>, name: &str, value: String| {
            if !is {
                found.push(Complaint::new(
                    span,
                    format!("{name} cannot change while the daemon runs"),
                    format!("the daemon has {value}; write that, or restart it (packets keep flowing meanwhile)"),
                ));
            }
        };
        let (old, new_plane) = (&running.dataplane, &new.dataplane);
        same(old.pin_path == new_plane.pin_path, self.pin_path, "pin_path", old.pin_path.display().to_string());
        let flows = old.flows_per_family;
        same(flows == new_plane.flows_per_family, self.flows, "flows_per_family", flows.to_string());
        let new_flows = old.new_flows_per_family;
        same(
            new_flows == new_plane.new_flows_per_family,
            self.new_flows,
            "new_flows_per_family",
            new_flows.to_string(),
        );
        let socket = running.admin_socket.display().to_string();
        same(running.admin_socket == new.admin_socket, self.socket, "the admin socket", socket);
        let listen = running.metrics.map_or_else(|| "\"off\"".to_owned(), |address| address.to_string());
        same(running.metrics == new.metrics, self.metrics, "the metrics' address", listen);
        let places = format!("{:?}", running.api);
        same(running.api == new.api, 0..0, "[api]", places);
        // The watchdog goes by the same settings, and reads them once.
        let had = if running.announce.is_some() { "other values" } else { "no [announce]" };
        same(running.announce == new.announce, self.announce, "[announce]", had.to_owned());
        let files = |settings: &Settings| {
            let control = settings.control.as_ref()?;
            let crl = control.crl.clone().unwrap_or_default();
            let files = [&control.ca, &control.certificate, &control.key, &crl, &control.state_dir];
            Some((control.listen.clone(), files.map(|path| path.display().to_string())))
        };
        let had = files(running).map_or_else(
            || "no [control]".to_owned(),
            |(listen, files)| format!("{listen:?} and {}", files.join(", ")),
        );
        same(files(running) == files(new), self.control, "listen, certificates or state_dir of [control]", had);
    }
}
