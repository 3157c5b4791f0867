//! Tables for people: one header line, columns that line up, numbers to the right.

use std::fmt;

use comfy_table::{Cell, CellAlignment, ContentArrangement};

/// A table under construction.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<S: ToString>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(|h| h.to_string()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not as many cells as the table has columns: that is a mistake in the program.
    pub fn row<S: ToString>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let row: Vec<String> = cells.into_iter().map(|c| c.to_string()).collect();
        assert_eq!(row.len(), self.header.len(), "a row of {:?} does not fit the columns {:?}", row, self.header);
        self.rows.push(row);
        self
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A column is one of numbers when every cell in it reads like one.
    fn is_numeric(&self, column: usize) -> bool {
        !self.rows.is_empty()
            && self.rows.iter().all(|row| {
                let cell = &row[column];
                cell == "-" || cell.trim_end_matches('%').parse::<f64>().is_ok()
            })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
        let numeric: Vec<bool> = (0..self.header.len()).map(|column| self.is_numeric(column)).collect();
        let align = |cells: &[String]| -> Vec<Cell> {
            let cell = |(text, &numeric): (&String, &bool)| {
                Cell::new(text).set_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left })
            };
            cells.iter().zip(&numeric).map(cell).collect()
        };
        table.set_header(align(&self.header));
        for row in &self.rows {
            table.add_row(align(row));
        }
        // Cells are padded on both sides; a table in the text starts at its margin and leaves no blanks at line ends.
        let lines: Vec<String> =
            table.lines().map(|l| l.strip_prefix(' ').unwrap_or(&l).trim_end().to_owned()).collect();
        formatter.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table = Table::new(["name", "packets"]);
        table.row(["a".to_owned(), 7.to_string()]).row(["longer".to_owned(), 12345.to_string()]);
        assert_eq!(table.to_string(), "name    packets\na             7\nlonger    12345");
    }

    #[test]
    #[should_panic(expected = "does not fit the columns")]
    fn a_row_of_another_width_is_a_mistake() {
        Table::new(["a", "b"]).row(["1"]);
    }
}
