//! What became of the flows of each drill, as stacked bars: those that each rung saved, those that needed no help, those
//! that were lost. Told apart by pattern, so that it can be read on paper.

use std::{collections::BTreeSet, fmt::Write};

use super::chart::{self, label, open};
use super::text::Escaped;
use crate::drill::result::{DrillReport, Pass};

const ROW: f64 = 38.0;
const BAR: f64 = 16.0;
const TOP: f64 = 8.0;
/// Patterns for rungs, in the order of their names on the whole page; more share the last.
const RUNG_FILLS: [&str; 8] = ["rung0", "rung1", "rung2", "rung3", "rung4", "rung5", "rung6", "rung7"];

/// The patterns that bars and legends refer to.
pub const PATTERNS: &str = r##"<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>
<pattern id="rung0" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="#fff"/><path d="M0 6L6 0" stroke="#14507a" stroke-width="1.5"/></pattern>
<pattern id="rung1" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="#fff"/><path d="M0 0L6 6" stroke="#14507a" stroke-width="1.5"/></pattern>
<pattern id="rung2" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" fill="#fff"/><circle cx="2.5" cy="2.5" r="1.3" fill="#14507a"/></pattern>
<pattern id="rung3" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="#fff"/><path d="M0 3H6M3 0V6" stroke="#14507a" stroke-width="1"/></pattern>
<pattern id="rung4" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" fill="#fff"/><path d="M0 2.5H5" stroke="#14507a" stroke-width="1.5"/></pattern>
<pattern id="rung5" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" fill="#fff"/><path d="M2.5 0V5" stroke="#14507a" stroke-width="1.5"/></pattern>
<pattern id="rung6" width="9" height="9" patternUnits="userSpaceOnUse"><rect width="9" height="9" fill="#fff"/><circle cx="4.5" cy="4.5" r="2.7" fill="none" stroke="#14507a" stroke-width="1"/></pattern>
<pattern id="rung7" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="#fff"/><path d="M0 6L6 0M0 0L6 6" stroke="#14507a" stroke-width="1"/></pattern>
<pattern id="unaided" width="4" height="4" patternUnits="userSpaceOnUse"><rect width="4" height="4" fill="#cfe0ec"/></pattern>
<pattern id="untested" width="4" height="4" patternUnits="userSpaceOnUse"><rect width="4" height="4" fill="#fff"/></pattern>
<pattern id="lost" width="4" height="4" patternUnits="userSpaceOnUse"><rect width="4" height="4" fill="#222"/></pattern>
</defs></svg>"##;

/// A segment: fill, what it is, flows.
type Segment = (&'static str, String, u64);

/// A bar for each drill that was made with its failure.
pub fn bars(drills: &[DrillReport]) -> String {
    let rows: Vec<_> = drills.iter().filter_map(|drill| Some((drill.title(), drill.measured.as_ref()?))).collect();
    let rungs: BTreeSet<&str> = rows.iter().flat_map(|(_, pass)| saving(pass)).map(|(rung, _)| rung).collect();
    let mut out = String::new();
    open(&mut out, TOP + ROW * rows.len() as f64 + 4.0, "What became of the flows of each drill");
    for (index, (title, pass)) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        label(&mut out, (0.0, y + 11.0), "start", title);
        let total = pass.total.flows.max(1) as f64;
        let mut from = 0.0;
        for (fill, what, flows) in segments(pass, &rungs) {
            let width = flows as f64 / total * chart::WIDTH;
            let _ = write!(
                out,
                "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"url(#{fill})\" \
                 stroke=\"#222\" stroke-width=\"0.5\"><title>{}: {flows}</title></rect>",
                y + 16.0,
                Escaped(&what)
            );
            from += width;
        }
    }
    out + "</svg>" + &legend(rows.iter().flat_map(|(_, pass)| segments(pass, &rungs)))
}

/// The rungs that saved some flow.
fn saving(pass: &Pass) -> impl Iterator<Item = (&str, u64)> {
    pass.rungs_saved.flows.iter().map(|(rung, flows)| (rung.as_str(), *flows)).filter(|(_, flows)| *flows > 0)
}

/// `rungs`: all of the page, so that one has the same pattern in every bar, whatever others its drill had.
fn segments(pass: &Pass, rungs: &BTreeSet<&str>) -> Vec<Segment> {
    let total = &pass.total;
    let mut left = total.survived;
    let mut segments = Vec::new();
    for (rung, flows) in saving(pass) {
        // The site counts all flows, also those that began after the failure: no more than survived are shown.
        let flows = flows.min(left);
        left -= flows;
        let place = rungs.iter().take_while(|other| **other < rung).count();
        segments.push((RUNG_FILLS[place.min(RUNG_FILLS.len() - 1)], format!("saved by {rung}"), flows));
    }
    let survived = if pass.rungs_saved.not_told.is_some() {
        "survived (by which rung, is not told)"
    } else {
        "survived without a rung"
    };
    segments.push(("unaided", survived.to_owned(), left));
    segments.push(("untested", "untested".to_owned(), total.untested));
    segments.push(("lost", "lost: moved, reset or failed".to_owned(), total.moved + total.reset + total.failed));
    segments.retain(|(.., flows)| *flows > 0);
    segments
}

fn legend(segments: impl Iterator<Item = Segment>) -> String {
    let mut seen: Vec<(&str, String)> = Vec::new();
    for (fill, what, _) in segments {
        if !seen.iter().any(|(_, known)| *known == what) {
            seen.push((fill, what));
        }
    }
    let mut out = String::from("<p class=\"legend\">");
    for (fill, what) in seen {
        let _ = write!(
            out,
            "<span><svg class=\"key\" viewBox=\"0 0 22 12\" aria-hidden=\"true\"><rect width=\"22\" height=\"12\" \
             fill=\"url(#{fill})\" stroke=\"#222\"/></svg> {}</span> ",
            Escaped(&what)
        );
    }
    out + "</p>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::result::Saved;

    fn pass(survived: u64, saved: &[(&str, u64)]) -> Pass {
        let flows = saved.iter().map(|(rung, flows)| ((*rung).to_owned(), *flows)).collect();
        let mut pass = Pass { rungs_saved: Saved { flows, not_told: None }, ..Pass::default() };
        (pass.total.flows, pass.total.survived) = (survived + 3, survived);
        pass.total.reset = 3;
        pass
    }

    #[test]
    fn a_rung_has_one_pattern_on_the_whole_page() {
        let rungs = ["slr2 chain", "slr2 mirror", "slr2 same-answer"].into();
        let told = segments(&pass(100, &[("slr2 chain", 20), ("slr2 mirror", 0), ("slr2 same-answer", 70)]), &rungs);
        let expected = [
            ("rung0", "saved by slr2 chain", 20),
            ("rung2", "saved by slr2 same-answer", 70),
            ("unaided", "survived without a rung", 10),
            ("lost", "lost: moved, reset or failed", 3),
        ];
        assert_eq!(told, expected.map(|(fill, what, flows)| (fill, what.to_owned(), flows)));
        let told = segments(&pass(100, &[("slr2 mirror", 130)]), &rungs);
        assert_eq!(told[0], ("rung1", "saved by slr2 mirror".to_owned(), 100), "no more than survived");
    }
}
