//! What was measured over time, kept: as JSON to reckon with, as SVG to look at.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use kuva::backend::svg::SvgBackend;
use kuva::plot::LinePlot;
use kuva::render::{figure::Figure, layout::Layout, plots::Plot};
use serde_json::{Value, json};

/// Colours that are told apart by most eyes (Okabe and Ito, 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A quantity of one or more things over time.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it is.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// A name, and (seconds, value).
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Writes `name.svg` and `name.json` to a directory. `about` stands in the JSON as it is.
pub fn keep(directory: &Path, name: &str, title: &str, about: &Value, panels: &[Panel]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let written = |extension: &str, text: String| {
        let path = directory.join(format!("{name}.{extension}"));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    written("svg", svg(title, panels))?;
    let lines = |panel: &Panel| -> Vec<Value> {
        let line = |(name, points): &(String, Vec<(f64, f64)>)| json!({"name": name, "points": rounded(points)});
        panel.lines.iter().map(line).collect()
    };
    let panels: Vec<Value> =
        panels.iter().map(|p| json!({"title": p.title, "unit": p.unit, "lines": lines(p)})).collect();
    written("json", json!({"title": title, "about": about, "panels": panels}).to_string() + "\n")
}

fn svg(title: &str, panels: &[Panel]) -> String {
    let plots: Vec<Vec<Plot>> = panels.iter().map(|panel| panel.lines.iter().enumerate().map(line).collect()).collect();
    let layout = |(plots, panel): (&Vec<Plot>, &Panel)| {
        Layout::auto_from_plots(plots).with_title(panel.title).with_x_label("s").with_y_label(panel.unit)
    };
    let layouts = plots.iter().zip(panels).map(layout).collect();
    let figure = Figure::new(panels.len().div_ceil(2), 2).with_title(title).with_plots(plots).with_layouts(layouts);
    SvgBackend.render_scene(&figure.render())
}

/// A name, and values over time.
type Named = (String, Vec<(f64, f64)>);

fn line((index, (name, points)): (usize, &Named)) -> Plot {
    let plot = LinePlot::new().with_data(rounded(points)).with_color(COLOURS[index % COLOURS.len()]);
    Plot::Line(plot.with_stroke_width(1.5).with_legend(name.clone()))
}

/// As exact as was measured, and no longer.
fn rounded(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().map(|&(x, y)| ((x * 100.0).round() / 100.0, (y * 1e3).round() / 1e3)).collect()
}
