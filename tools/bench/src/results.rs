//! Where measurements are kept: `tools/bench/results/<date>-<host>/`, as JSON for programs and Markdown for people.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::machine;

/// What `--out` without a folder means.
pub const DEFAULT: &str = "results/<date>-<host>";

/// The folder that `--out` names, made if it does not exist.
pub fn folder(named: &Path) -> Result<PathBuf> {
    let folder = if named == Path::new(DEFAULT) {
        let name = format!("{}-{}", today(), machine::host_name());
        Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(name)
    } else {
        named.to_owned()
    };
    fs::create_dir_all(&folder).with_context(|| format!("results folder {}", folder.display()))?;
    Ok(folder)
}

/// Writes NAME.json and NAME.md.
pub fn write(folder: &Path, name: &str, json: &impl Serialize, markdown: &str) -> Result<()> {
    let json = serde_json::to_string(json).context("results as JSON")?;
    for (file, text) in [(format!("{name}.json"), json.as_str()), (format!("{name}.md"), markdown)] {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// Today in UTC, as YYYY-MM-DD.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar, counted in years that start in March so that the
/// leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097; // 400 years
    let from_march_0000 = days + 719_468;
    let (era, day_of_era) = (from_march_0000 / ERA_DAYS, from_march_0000 % ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = if months_from_march < 10 { months_from_march + 3 } else { months_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let table = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_453, (2025, 12, 31)),
        ];
        for (days, date) in table {
            assert_eq!(civil(days), date, "day {days}");
        }
    }
}
