//! Plots as SVG, small ones: they are kept beside the text that speaks of them.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use kuva::{
    backend::svg::SvgBackend,
    plot::{LinePlot, ScatterPlot},
    render::{figure::Figure, layout::Layout, plots::Plot},
};

use crate::{record::Run, scenario::Named, sweep::Cell};

/// Colours that are told apart by most eyes (Okabe and Ito, 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Points of a line, at most: more are not seen, and the files are kept.
const POINTS_MAX: usize = 200;
/// Hosts drawn by themselves, at most.
const HOSTS_DRAWN: usize = 6;

/// Shares, loads, imbalance and moved slots of a run over time.
pub fn balance(directory: &Path, scenario: &Named, seed: u64, run: &Run) -> Result<()> {
    let hosts = run.rows.first().map_or(0, |row| row.shares.len()).min(HOSTS_DRAWN);
    let per_host = |value: &dyn Fn(usize, usize) -> f64| -> Vec<Plot> {
        (0..hosts)
            .map(|host| {
                let points = run.rows.iter().enumerate().map(|(at, row)| (row.at_s, value(at, host)));
                line(points.collect(), COLOURS[host % COLOURS.len()], Some(format!("host {host}")))
            })
            .collect()
    };
    let shares = per_host(&|at, host| run.rows[at].shares[host]);
    let loads = per_host(&|at, host| smooth_load(run, at, host));
    let moved =
        run.rows.iter().map(|row| (row.at_s, f64::from(row.moved_by_cost) * 100.0 / f64::from(row.slots.max(1))));
    let imbalance = vec![line(run.imbalance(0.0), COLOURS[0], None)];
    let moved = vec![line(moved.collect(), COLOURS[1], None)];
    let titles = [
        ("share of slots", "share"),
        ("load, mean of 2 s", "load"),
        ("busiest host, times its fair load", "ratio"),
        ("slots moved in an interval, %", "%"),
    ];
    let name = kebab(scenario);
    let title = format!("slr-sim balance --scenario {name} --seed {seed}");
    write(directory, &format!("balance-{name}.svg"), &title, vec![shares, loads, imbalance, moved], &titles, 2)
}

/// Shares of three hosts under each policy.
pub fn herd(directory: &Path, seed: u64, interval_s: f64, runs: &[(&'static str, Run)]) -> Result<()> {
    let panel = |(_, run): &(&str, Run)| -> Vec<Plot> {
        (0..3)
            .map(|host| {
                let points = (0..run.rows.len()).map(|at| (run.rows[at].at_s, smooth_load(run, at, host)));
                line(points.collect(), COLOURS[host], Some(format!("host {host} of 10")))
            })
            .collect()
    };
    let titles: Vec<(&str, &str)> = runs.iter().map(|(what, _)| (*what, "load, mean of 2 s")).collect();
    let title = format!("slr-sim herd --seed {seed} --interval {interval_s}");
    write(directory, "herd.svg", &title, runs.iter().map(panel).collect(), &titles, 3)
}

/// Imbalance against moved slots, a colour for each hysteresis, a panel for each interval.
pub fn sweep(directory: &Path, scenario: &Named, seed: u64, cells: &[Cell]) -> Result<()> {
    let mut intervals: Vec<f64> = cells.iter().map(|cell| cell.interval_s).collect();
    intervals.dedup();
    let mut hystereses: Vec<f64> = cells.iter().map(|cell| cell.hysteresis).collect();
    hystereses.sort_unstable_by(f64::total_cmp);
    hystereses.dedup();
    let panel = |&interval_s: &f64| -> Vec<Plot> {
        let of = |hysteresis: f64| {
            cells.iter().filter(move |cell| cell.interval_s == interval_s && cell.hysteresis == hysteresis)
        };
        hystereses
            .iter()
            .enumerate()
            .map(|(index, &hysteresis)| {
                let points: Vec<(f64, f64)> = of(hysteresis)
                    .map(|cell| (cell.summary.moved_a_second * 100.0, cell.summary.placed_mean))
                    .collect();
                let plot =
                    ScatterPlot::new().with_data(points).with_color(COLOURS[index % COLOURS.len()]).with_size(4.0);
                Plot::Scatter(plot.with_legend(format!("hysteresis {hysteresis}")))
            })
            .collect()
    };
    let panels: Vec<Vec<Plot>> = intervals.iter().map(panel).collect();
    let names: Vec<String> = intervals.iter().map(|interval_s| format!("interval {interval_s} s")).collect();
    let titles: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "largest share, times fair")).collect();
    let name = kebab(scenario);
    let title =
        format!("slr-sim sweep --scenario {name} --seed {seed}: placed imbalance against slots moved (% a second)");
    write(directory, &format!("sweep-{name}.svg"), &title, panels, &titles, 3)
}

fn kebab(scenario: &Named) -> String {
    use clap::ValueEnum;
    scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A host's load over the last two seconds.
fn smooth_load(run: &Run, end: usize, host: usize) -> f64 {
    let begin = run.rows.partition_point(|row| row.at_s <= run.rows[end].at_s - crate::record::WINDOW_S);
    let rows = &run.rows[begin..=end];
    rows.iter().map(|row| row.loads[host]).sum::<f64>() / rows.len() as f64
}

fn line(points: Vec<(f64, f64)>, colour: &str, legend: Option<String>) -> Plot {
    let every = points.len().div_ceil(POINTS_MAX).max(1);
    let rounded = points.into_iter().step_by(every).map(|(x, y)| ((x * 10.0).round() / 10.0, (y * 1e3).round() / 1e3));
    let plot = LinePlot::new().with_data(rounded).with_color(colour).with_stroke_width(1.5);
    Plot::Line(match legend {
        Some(legend) => plot.with_legend(legend),
        None => plot,
    })
}

fn write(
    directory: &Path,
    file: &str,
    title: &str,
    panels: Vec<Vec<Plot>>,
    titles: &[(&str, &str)],
    columns: usize,
) -> Result<()> {
    let layouts = panels
        .iter()
        .zip(titles)
        .map(|(panel, (title, y))| Layout::auto_from_plots(panel).with_title(*title).with_x_label("").with_y_label(*y))
        .collect();
    let rows = panels.len().div_ceil(columns);
    let scene = Figure::new(rows, columns).with_title(title).with_plots(panels).with_layouts(layouts).render();
    let path = directory.join(file);
    fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    fs::write(&path, SvgBackend.render_scene(&scene)).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
