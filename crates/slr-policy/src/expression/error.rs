//! What is wrong with an expression, and where.

use std::fmt;

use cel::ParseErrors;

use super::{EvaluateError, Expression};

/// An expression that cannot be used: what is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpressionError {
    /// The expression as it was given.
    pub source_text: String,
    /// What is wrong with it.
    pub fault: Fault,
    /// Where in the source, in bytes from 0, if it is known.
    pub at: Option<usize>,
}

/// What can be wrong with an expression.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// More bytes than an expression may have.
    #[error("it has {bytes} bytes, at most {} are allowed", Expression::SOURCE_MAX)]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A character outside ASCII.
    #[error("a character in it is not ASCII")]
    NotAscii,
    /// Nested too deeply.
    #[error("it is nested more than {} deep", Expression::DEPTH_MAX)]
    TooDeep,
    /// Not the syntax of CEL.
    #[error("{0}")]
    Syntax(String),
    /// A name that is not in the vocabulary.
    #[error("nothing is called {name}; known are {known}")]
    UnknownName {
        /// The name.
        name: String,
        /// What is known.
        known: String,
    },
    /// A function that is not there.
    #[error("there is no function {name}; known are {}", super::check::FUNCTIONS)]
    UnknownFunction {
        /// Its name.
        name: String,
    },
    /// A function was given too few or too many arguments.
    #[error("{name} takes {expected}, not {given}")]
    Arguments {
        /// The function.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
        /// How many it was given.
        given: usize,
    },
    /// A condition where a number belongs, or the reverse, or something that is neither.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// It has no finite value even with sample values.
    #[error("tried with {samples}: {error}")]
    Sample {
        /// Each name and its sample.
        samples: String,
        /// What came of it.
        error: EvaluateError,
    },
}

impl ExpressionError {
    pub(super) fn new(source: &str, fault: Fault, at: Option<usize>) -> Self {
        // An oversized source must not fill a log.
        let shown = source.chars().take(Expression::SOURCE_MAX).collect();
        Self { source_text: shown, fault, at }
    }

    pub(super) fn from_parser(source: &str, errors: &ParseErrors) -> Self {
        let Some(first) = errors.errors.first() else {
            return Self::new(source, Fault::Syntax("it is no expression".to_owned()), None);
        };
        // The parser counts lines and columns from 1.
        let (line, column) = (usize::try_from(first.pos.0).ok(), usize::try_from(first.pos.1).ok());
        let line_start = line
            .filter(|&line| line > 0)
            .map(|line| source.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>());
        let at = line_start.zip(column).map(|(start, column)| start + column.saturating_sub(1));
        Self::new(source, Fault::Syntax(first.msg.trim().to_owned()), at.filter(|&at| at <= source.len()))
    }

    /// Line and column of the fault, both from 1.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let before = &self.source_text.get(..self.at?)?;
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        Some((line, column))
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "expression \"{}\"", self.source_text)?;
        match self.line_and_column() {
            Some((1, column)) => write!(formatter, ", column {column}")?,
            Some((line, column)) => write!(formatter, ", line {line}, column {column}")?,
            None => {}
        }
        write!(formatter, ": {}", self.fault)
    }
}

impl std::error::Error for ExpressionError {}
