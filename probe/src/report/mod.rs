//! `probe report`: one or many drills as one page that needs nothing else, or as JSON or CSV.

mod bars;
mod chart;
mod csv;
mod ecdf;
mod page;
mod text;
mod timeline;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::drill::result::{DrillReport, SCHEMA};

/// Largest file taken: a drill of a thousand flows is some 100 kB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Tell one or many drills as one HTML page, as JSON or as CSV.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Results of `probe drill --out` or `--json`
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Write the page to this file [default: print it]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv"])]
    pub html: Option<PathBuf>,

    /// Print all drills as one JSON list
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print a line for each drill and kind of flow
    #[arg(long)]
    pub csv: bool,
}

/// Reads the files and tells them.
pub fn report(args: &ReportArgs) -> Result<()> {
    let mut drills = Vec::new();
    for file in &args.files {
        drills.extend(read(file)?);
    }
    let told = match () {
        () if args.json => serde_json::to_string_pretty(&drills)? + "\n",
        () if args.csv => csv::csv(&drills),
        () => page::page(&drills),
    };
    match &args.html {
        Some(path) => fs::write(path, told).with_context(|| format!("cannot write --html {}", path.display())),
        None => Ok(io::stdout().lock().write_all(told.as_bytes())?),
    }
}

/// A file holds one drill, or a list of them.
fn read(path: &Path) -> Result<Vec<DrillReport>> {
    let size = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(
        size <= MAX_FILE_BYTES,
        "{} has {size} bytes, more than {MAX_FILE_BYTES}: no drill is so large",
        path.display()
    );
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let drill = |value: Value| {
        ensure!(value["schema"] == SCHEMA, "{} is no result of `probe drill` ({SCHEMA})", path.display());
        serde_json::from_value(value).with_context(|| format!("{} is not a whole result", path.display()))
    };
    list.into_iter().map(drill).collect()
}
