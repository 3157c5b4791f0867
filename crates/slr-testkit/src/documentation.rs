//! Tables of the documentation that tests hold to the programs.

use std::path::Path;

/// Panics, with the table that is missing, unless a file has a table of this header and these rows, cell for cell.
pub fn assert_has_table<const N: usize>(
    file: impl AsRef<Path>,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(&header.map(str::to_owned)) + &format!("|{}\n", "---|".repeat(N));
    rows.into_iter().for_each(|row| table += &line(&row));
    let file = file.as_ref().display();
    let documented = std::fs::read_to_string(file.to_string()).unwrap_or_default();
    assert!(documented.contains(&table), "{file} lacks this table:\n{table}");
}
