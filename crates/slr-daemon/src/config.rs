//! Configuration files: TOML in, a checked value out, or an error that shows the offending line.
//!
//! Types say most of what a configuration may hold (`deny_unknown_fields`, parsed addresses); what they cannot say, a
//! check says with [`Complaint`]s on the spans of [`toml::Spanned`] fields. All complaints are shown at once. The caller
//! keeps its old configuration when a new one is refused: there is no half-loaded state.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Longest configuration file that is read: 4 MiB hold tens of thousands of hosts; more is a mistaken path.
const LEN_MAX: u64 = 4 << 20;

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is not what a configuration can be; displays the lines at fault.
    #[error("{0}")]
    Refused(Rendered),
}

/// Complaints as they are shown: each with its source line.
#[derive(Debug)]
pub struct Rendered(String);

impl fmt::Display for Rendered {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Byte range in the file, from [`toml::Spanned::span`].
    pub span: Range<usize>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead; shown under the line.
    pub remedy: String,
}

impl Complaint {
    /// A complaint about the text at `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { span, message: message.into(), remedy: remedy.into() }
    }
}

/// Reads a file that needs no checks beyond its types.
pub fn load<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, ConfigError> {
    load_checked(path, Ok::<T, Vec<Complaint>>)
}

/// Reads a file and turns it into what the program uses; `check` returns that, or everything it finds wrong.
pub fn load_checked<T: DeserializeOwned, C>(
    path: impl AsRef<Path>,
    check: impl FnOnce(T) -> Result<C, Vec<Complaint>>,
) -> Result<C, ConfigError> {
    let path = path.as_ref();
    let text = read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse_checked(&path.display().to_string(), &text, check)
}

/// Like [`load_checked`], of text that is already here; `origin` is the name that errors show.
pub fn parse_checked<T: DeserializeOwned, C>(
    origin: &str,
    text: &str,
    check: impl FnOnce(T) -> Result<C, Vec<Complaint>>,
) -> Result<C, ConfigError> {
    let value = toml::from_str(text).map_err(|error| {
        let complaint = Complaint::new(error.span().unwrap_or(0..0), error.message(), "");
        ConfigError::Refused(render(origin, text, &[complaint]))
    })?;
    check(value).map_err(|complaints| ConfigError::Refused(render(origin, text, &complaints)))
}

fn read(path: &Path) -> io::Result<String> {
    let len = fs::metadata(path)?.len();
    if len > LEN_MAX {
        return Err(io::Error::other(format!("it has {len} bytes; a configuration has at most {LEN_MAX}")));
    }
    fs::read_to_string(path)
}

fn render(origin: &str, text: &str, complaints: &[Complaint]) -> Rendered {
    let mut shown = String::new();
    for complaint in complaints {
        let snippet = Snippet::source(text)
            .path(origin)
            .annotation(AnnotationKind::Primary.span(within(text, &complaint.span)).label(&*complaint.remedy));
        let report = [Level::ERROR.primary_title(one_line(&complaint.message)).element(snippet)];
        write!(shown, "{}{}", if shown.is_empty() { "" } else { "\n\n" }, Renderer::plain().render(&report))
            .expect("writing to a string does not fail");
    }
    Rendered(shown)
}

/// serde's messages may hold line ends; a title is one line.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The span, cut to what the text has: a span from elsewhere must not panic the renderer.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let cut = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = cut(span.start);
    start..cut(span.end).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use toml::Spanned;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        port: Spanned<u16>,
    }

    fn check(sample: Sample) -> Result<u16, Vec<Complaint>> {
        match *sample.port.get_ref() {
            0 => Err(vec![Complaint::new(sample.port.span(), "port 0 is no port", "write 1 to 65535")]),
            port => Ok(port),
        }
    }

    #[test]
    fn a_good_file_becomes_what_the_check_makes_of_it() {
        assert_eq!(parse_checked("x.toml", "port = 7", check).unwrap(), 7);
    }

    #[test]
    fn refusals_show_the_line_and_what_is_wrong() {
        let table = [
            ("port = 0", "port 0 is no port", "1 | port = 0"),
            ("# a\nport = 70000", "expected u16", "2 | port = 70000"),
            ("port = 1\nprot = 2", "unknown field `prot`", "2 | prot = 2"),
            ("port = 1\n[[", "unquoted keys cannot be empty", "2 | [["),
            ("", "missing field `port`", "x.toml"),
        ];
        for (text, message, line) in table {
            let shown = parse_checked("x.toml", text, check).unwrap_err().to_string();
            assert!(shown.contains(message) && shown.contains(line), "{text:?} gave:\n{shown}");
        }
        let shown = parse_checked("x.toml", "port = 0", check).unwrap_err().to_string();
        assert!(shown.contains("write 1 to 65535") && shown.contains("x.toml:1:8"), "{shown}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<toml::Table>("/nonexistent/x.toml").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/x.toml") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_span_beyond_the_text_does_not_panic() {
        assert_eq!(within("äb", &(1..99)), 0..3);
    }
}
