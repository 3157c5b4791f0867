//! Prometheus' text format, version 0.0.4: it is what every scraper and `promtool` read. (OpenMetrics, which the
//! `prometheus-client` crate writes, gives a counter two names, with `_total` and without, and promtool refuses that.)

use std::fmt::Write;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of whatever counts.
    Counter,
    /// Comes and goes.
    Gauge,
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        }
    }
}

/// A name, and what is under it. Names are for ever: dashboards and alerts are made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name, with its unit; a counter's ends in `_total`.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Labels, in the order of their values.
    pub labels: &'static [&'static str],
    /// What it says, one sentence.
    pub help: &'static str,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count, written with all its digits.
    Whole(u64),
    /// Anything else.
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::Whole(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Real(value)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Number::Whole(value.into())
    }
}

/// A page under construction. Each family once, and all its samples in a row.
#[derive(Debug, Default)]
pub struct Text {
    page: String,
    seen: Vec<&'static str>,
}

impl Text {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family. Without a sample it leaves no trace.
    ///
    /// # Panics
    /// If it was begun before: scrapers refuse such a page. That is a mistake in the program.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        assert!(!self.seen.contains(&family.name), "{} is written twice", family.name);
        self.seen.push(family.name);
        Samples { page: &mut self.page, family, is_begun: false }
    }

    /// The page.
    pub fn into_page(self) -> String {
        self.page
    }
}

/// The samples of a family.
#[derive(Debug)]
pub struct Samples<'a> {
    page: &'a mut String,
    family: &'static Family,
    is_begun: bool,
}

impl Samples<'_> {
    /// Adds a sample with these labels' values. What is said of one set of values is said once: the caller's to keep.
    ///
    /// # Panics
    /// If there are not as many values as the family has labels: a mistake in the program.
    pub fn add(&mut self, values: &[&str], value: impl Into<Number>) {
        let Family { name, kind, labels, help } = self.family;
        assert_eq!(values.len(), labels.len(), "labels of {name}");
        if !self.is_begun {
            self.is_begun = true;
            let _ = write!(self.page, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str());
        }
        self.page.push_str(name);
        for (at, (label, value)) in labels.iter().zip(values).enumerate() {
            self.page.push(if at == 0 { '{' } else { ',' });
            self.page.push_str(label);
            self.page.push_str("=\"");
            escape(self.page, value);
            self.page.push('"');
        }
        self.page.push_str(if labels.is_empty() { " " } else { "} " });
        let _ = match value.into() {
            Number::Whole(value) => writeln!(self.page, "{value}"),
            Number::Real(value) if value.is_infinite() => {
                writeln!(self.page, "{}", if value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Number::Real(value) => writeln!(self.page, "{value}"),
        };
    }
}

fn escape(page: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            other => page.push(other),
        }
    }
}

/// The families as a Markdown table, as docs/metrics.md has it.
pub fn table(families: &[Family]) -> String {
    let mut table = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for Family { name, kind, labels, help } in families {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(table, "| `{name}` | {} | {} | {help} |", kind.as_str(), labels.join(" "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Family = Family { name: "a_total", kind: Kind::Counter, labels: &[], help: "Plain." };
    const LABELS: Family = Family { name: "b", kind: Kind::Gauge, labels: &["x", "y"], help: "With labels." };
    const EMPTY: Family = Family { name: "c", kind: Kind::Gauge, labels: &[], help: "Nobody is there." };

    #[test]
    fn a_page_has_each_family_once_with_help_and_type_and_none_without_samples() {
        let mut text = Text::new();
        text.family(&PLAIN).add(&[], u64::MAX);
        let mut samples = text.family(&LABELS);
        samples.add(&["1", "say \"hi\"\\\n"], 0.25);
        samples.add(&["2", ""], true);
        samples.add(&["3", "ü"], f64::INFINITY);
        text.family(&EMPTY);
        let expected = "# HELP a_total Plain.\n# TYPE a_total counter\na_total 18446744073709551615\n\
                        # HELP b With labels.\n# TYPE b gauge\nb{x=\"1\",y=\"say \\\"hi\\\"\\\\\\n\"} 0.25\n\
                        b{x=\"2\",y=\"\"} 1\nb{x=\"3\",y=\"ü\"} +Inf\n";
        assert_eq!(text.into_page(), expected);
    }

    #[test]
    fn a_family_is_a_row_of_the_documentation() {
        assert_eq!(table(&[LABELS]).lines().last(), Some("| `b` | gauge | `x` `y` | With labels. |"));
    }

    #[test]
    #[should_panic(expected = "a_total is written twice")]
    fn a_family_cannot_begin_twice() {
        let mut text = Text::new();
        text.family(&PLAIN);
        text.family(&PLAIN);
    }
}
