//! Recovery times: the share of all flows that had gone on by a time, on a logarithmic axis of time.

use super::chart::{self, label, line, open, path};
use crate::{
    drill::result::{DrillReport, Pass},
    units::show_us,
};

/// The axis: 100 us to 100 s.
const FIRST_DECADE: i32 = 2;
const LAST_DECADE: i32 = 8;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 190.0;
const HEIGHT: f64 = 236.0;

/// Solid: with the failure; dashed: without. A line that stays below 100 % shows the flows that were lost.
pub fn ecdf(drill: &DrillReport) -> String {
    let mut out = String::new();
    open(&mut out, HEIGHT, &format!("Recovery times of {}", drill.title()));
    for percent in [0, 25, 50, 75, 100] {
        let y = y(f64::from(percent) / 100.0);
        line(&mut out, "grid", (chart::x(0.0), y), (chart::x(1.0), y));
        label(&mut out, (chart::LEFT - 6.0, y + 4.0), "end", &format!("{percent} %"));
    }
    for decade in FIRST_DECADE..=LAST_DECADE {
        let at = x(10u64.pow(decade as u32));
        line(&mut out, "grid", (at, TOP), (at, BOTTOM));
        let name = ["100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"][(decade - FIRST_DECADE) as usize];
        label(&mut out, (at, BOTTOM + 16.0), "middle", name);
    }
    label(&mut out, (chart::x(0.5), BOTTOM + 36.0), "middle", "time until the first progress after the failure");
    for (class, pass) in [("null", &drill.null), ("main", &drill.measured)] {
        if let Some(pass) = pass {
            steps(&mut out, class, pass);
        }
    }
    if let Some(p99) = drill.measured.as_ref().map(|pass| &pass.total.recovery_us).filter(|spread| spread.count > 0) {
        let at = x(p99.p99);
        line(&mut out, "mark", (at, TOP), (at, BOTTOM));
        let (anchor, offset) = if at > chart::x(0.7) { ("end", -5.0) } else { ("start", 5.0) };
        label(&mut out, (at + offset, BOTTOM - 6.0), anchor, &format!("p99 of survivors {}", show_us(p99.p99)));
    }
    out + "</svg>"
}

fn steps(out: &mut String, class: &str, pass: &Pass) {
    let mut all: Vec<u64> = pass.recoveries_us.values().flatten().copied().collect();
    all.sort_unstable();
    let flows = (pass.total.flows - pass.total.untested.min(pass.total.flows)).max(1) as f64;
    let mut points = vec![(chart::x(0.0), y(0.0))];
    for (index, &us) in all.iter().enumerate() {
        points.push((x(us), y(index as f64 / flows)));
        points.push((x(us), y((index + 1) as f64 / flows)));
    }
    points.push((chart::x(1.0), y(all.len() as f64 / flows)));
    // A thousand steps hold many points that fall together.
    points.dedup_by(|next, last| (next.0 - last.0).abs() < 0.05 && (next.1 - last.1).abs() < 0.05);
    path(out, class, points);
}

fn x(us: u64) -> f64 {
    let decades = (us.max(1) as f64).log10() - f64::from(FIRST_DECADE);
    chart::x(decades / f64::from(LAST_DECADE - FIRST_DECADE))
}

fn y(share: f64) -> f64 {
    BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
}
