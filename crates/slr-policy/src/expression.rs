//! The operator's formulas (F, G, and a host's own load): arithmetic over named doubles, in the syntax of CEL.
//!
//! The `cel` crate parses; what it parsed is checked once and becomes a small tree of its own. So a name that nobody
//! knows, a function of two arguments given three, or a comparison where a number belongs is an error when the
//! configuration is loaded, with its place, and never in the middle of the night. A tree has no loops and calls nothing
//! but the functions below: its cost is bounded by its source's length.
//!
//! Language: numbers (`2` and `2.0` are one), the names of a [`Vocabulary`], `loads.NAME` for a load value that hosts
//! advertise, `+ - * / %`, comparisons, `&& || !`, `condition ? a : b`, `has(loads.NAME)`, and `min`, `max` (of two or
//! more), `clamp(value, low, high)`, `exp`, `sqrt`, `abs`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use cel::parser::Parser;
use slr_model::LoadName;

mod check;
mod error;
mod tree;

pub use error::{ExpressionError, Fault};

use check::Checker;
use tree::Number;

/// A formula, checked: all that can still go wrong is a value that is missing, or a result that is not finite.
#[derive(Clone)]
pub struct Expression {
    source: Box<str>,
    variables: Box<[Variable]>,
    root: Number,
}

/// The names that an expression may use, with a sample value of each that the expression is tried with when it is loaded.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    names: BTreeMap<String, f64>,
    any_load: bool,
}

/// A value that an expression asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// A name of the vocabulary.
    Known(Box<str>),
    /// A load value, written `loads.NAME`.
    Load(LoadName),
}

/// Why a checked expression has no value now.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// Nobody says this value.
    #[error("no value of {0} is known")]
    Missing(Variable),
    /// A division by zero, the root of a negative number, or a number beyond the range of doubles.
    #[error("the result is {0}, not a finite number")]
    NotFinite(f64),
}

impl Vocabulary {
    /// These names, each with a sample value. A sample is a value that occurs, so that an expression which divides by
    /// it, say, can be tried.
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        let names = names.into_iter().map(|(name, sample)| (name.to_owned(), sample)).collect();
        Self { names, any_load: false }
    }

    /// Allows `loads.NAME` with any name: which values hosts advertise is known only when they do.
    #[must_use]
    pub fn with_loads(mut self) -> Self {
        self.any_load = true;
        self
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    fn sample(&self, variable: &Variable) -> f64 {
        // No one knows what a load value of that name will be; 0.5 is a load if it is one.
        self.names.get(variable.name()).copied().unwrap_or(0.5)
    }
}

impl Variable {
    /// The name, without `loads.`.
    pub fn name(&self) -> &str {
        match self {
            Variable::Known(name) => name,
            Variable::Load(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Variable::Known(name) => formatter.pad(name),
            Variable::Load(name) => formatter.pad(&format!("loads.{name}")),
        }
    }
}

impl Expression {
    /// Longest source, in bytes. It bounds what parsing and each evaluation cost; the shipped expressions have 40.
    pub const SOURCE_MAX: usize = 1_000;
    /// Deepest nesting of parentheses and operators, which is how deep the parser and an evaluation recurse.
    pub const DEPTH_MAX: usize = 32;

    /// Parses and checks a source against the names it may use, and tries it with their samples.
    pub fn compile(source: &str, vocabulary: &Vocabulary) -> Result<Self, ExpressionError> {
        let refused = |fault, at| ExpressionError::new(source, fault, at);
        if source.len() > Self::SOURCE_MAX {
            return Err(refused(Fault::TooLong { bytes: source.len() }, None));
        }
        if let Some(at) = source.find(|character: char| !character.is_ascii()) {
            return Err(refused(Fault::NotAscii, Some(at)));
        }
        check::nesting(source).map_err(|at| refused(Fault::TooDeep, Some(at)))?;
        let parsed = Parser::new().max_recursion_depth(96).parse_with_source_info(source);
        let (ast, places) = parsed.map_err(|errors| ExpressionError::from_parser(source, &errors))?;
        let mut checker = Checker::new(vocabulary);
        let root = checker.number(&ast, 0).map_err(|(fault, id)| {
            let at = places.offset_for(id).map(|(start, _)| start as usize);
            refused(fault, at)
        })?;
        let expression = Self { source: source.into(), variables: checker.variables.into(), root };
        match expression.evaluate(|variable| Some(vocabulary.sample(variable))) {
            Ok(_) => Ok(expression),
            Err(error) => Err(refused(Fault::Sample { samples: expression.samples(vocabulary), error }, None)),
        }
    }

    /// The value, if all values that it needs are known. A branch that is not taken needs none.
    pub fn evaluate(&self, value_of: impl Fn(&Variable) -> Option<f64>) -> Result<f64, EvaluateError> {
        let values: Vec<f64> = self.variables.iter().map(|variable| value_of(variable).unwrap_or(f64::NAN)).collect();
        self.evaluate_values(&values)
    }

    /// The value for these values of [`Expression::variables`], in their order; one that is missing is NaN.
    pub fn evaluate_values(&self, values: &[f64]) -> Result<f64, EvaluateError> {
        assert_eq!(values.len(), self.variables.len(), "one value for each variable");
        let result =
            self.root.evaluate(values).map_err(|index| EvaluateError::Missing(self.variables[index].clone()))?;
        if result.is_finite() { Ok(result) } else { Err(EvaluateError::NotFinite(result)) }
    }

    /// What it asks for, each once.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The source as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    fn samples(&self, vocabulary: &Vocabulary) -> String {
        let each = |variable: &Variable| format!("{variable} = {}", vocabulary.sample(variable));
        self.variables.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}

/// Two expressions of one source and one set of variables are the same.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.variables == other.variables
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "Expression({})", self.source)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&self.source)
    }
}

/// A load name's text is what follows `loads.`.
fn load_variable(name: &str) -> Option<Variable> {
    LoadName::from_str(name).ok().map(Variable::Load)
}

#[cfg(test)]
mod tests;
