//! What arrived over time, with the failure marked.

use super::chart::{self, label, line, open, path};
use crate::{
    drill::result::Pass,
    units::{show_bytes, show_count},
};

const PANEL: f64 = 80.0;
const TOP: f64 = 24.0;
const GAP: f64 = 26.0;
const HEIGHT: f64 = TOP + 2.0 * PANEL + GAP + 46.0;
/// Bins drawn as one point: 100 ms, so that flows that speak every 200 ms make a line and no comb.
const MERGED: usize = 5;

/// Two panels: answers a second, bytes of transfers a second.
pub fn timeline(title: &str, pass: &Pass) -> String {
    let mut out = String::new();
    open(&mut out, HEIGHT, &format!("Throughput of {title}"));
    let end_us = pass.ended_us.max(1);
    let at = |us: u64| chart::x(us as f64 / end_us as f64);
    let bottom = TOP + 2.0 * PANEL + GAP;
    for second in (0..=end_us / 1_000_000).step_by(tick_s(end_us)) {
        let x = at(second * 1_000_000);
        line(&mut out, "grid", (x, TOP), (x, bottom));
        label(&mut out, (x, bottom + 16.0), "middle", &second.to_string());
    }
    label(&mut out, (chart::x(0.5), bottom + 36.0), "middle", "seconds since the first flow began");
    let panels = [
        (TOP, "answers/s", &pass.throughput.answers, show_count as fn(u64) -> String),
        (TOP + PANEL + GAP, "transfers/s", &pass.throughput.transfer_bytes, show_bytes),
    ];
    for (top, name, bins, show) in panels {
        let rates = rates(bins, pass.throughput.bin_us);
        let most = rates.iter().copied().max().unwrap_or(0).max(1);
        let y = |rate: u64| top + PANEL - rate as f64 / most as f64 * PANEL;
        line(&mut out, "grid", (chart::x(0.0), y(0)), (chart::x(1.0), y(0)));
        line(&mut out, "grid", (chart::x(0.0), y(most)), (chart::x(1.0), y(most)));
        label(&mut out, (chart::LEFT - 6.0, y(most) + 4.0), "end", &show(most));
        label(&mut out, (chart::LEFT - 6.0, y(most) + 18.0), "end", name);
        label(&mut out, (chart::LEFT - 6.0, y(0) + 4.0), "end", "0");
        let width = pass.throughput.bin_us * MERGED as u64;
        let points = rates.iter().enumerate().map(|(index, &rate)| (at(index as u64 * width + width / 2), y(rate)));
        path(&mut out, "main", points);
    }
    let marks = pass.failures_us.iter().map(|&us| (us, "failure")).chain(pass.healed_us.map(|us| (us, "healed")));
    let mut last_label = f64::NEG_INFINITY;
    for (us, name) in marks {
        line(&mut out, "mark", (at(us), TOP - 8.0), (at(us), bottom));
        // Failures that follow each other closely share a word.
        if at(us) - last_label > 46.0 {
            label(&mut out, (at(us), TOP - 11.0), "middle", name);
            last_label = at(us);
        }
    }
    out + "</svg>"
}

/// By second. The last point is left out unless it is whole: it would look like a collapse.
fn rates(bins: &[u64], bin_us: u64) -> Vec<u64> {
    let width_us = bin_us.max(1) * MERGED as u64;
    bins.chunks_exact(MERGED).map(|bins| bins.iter().sum::<u64>() * 1_000_000 / width_us).collect()
}

fn tick_s(end_us: u64) -> usize {
    [1, 2, 5, 10, 30, 60].into_iter().find(|tick| end_us / 1_000_000 / tick <= 20).unwrap_or(300) as usize
}
