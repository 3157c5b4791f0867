//! The frame of a chart: where it is on the picture, lines and labels.

use std::fmt::Write;

use super::text::Escaped;

/// A chart's size and margins, in SVG units.
pub const WIDTH: f64 = 680.0;
pub const LEFT: f64 = 70.0;
pub const RIGHT: f64 = 20.0;

/// Horizontal place of a share (0 to 1) of the axis.
pub fn x(share: f64) -> f64 {
    LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

/// Opens a picture of a height, with words for those who cannot see it.
pub fn open(out: &mut String, height: f64, label: &str) {
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">",
        Escaped(label)
    );
}

/// A straight line.
pub fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = write!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// A label; `anchor` is `start`, `middle` or `end`.
pub fn label(out: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", Escaped(text));
}

/// A line through points.
pub fn path(out: &mut String, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
    let mut data = String::new();
    for (at, (x, y)) in points.into_iter().enumerate() {
        let _ = write!(data, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    let _ = write!(out, "<path class=\"{class}\" d=\"{data}\"/>");
}
