//! What is left of an expression when it has been checked: two types, numbers and conditions, so that nothing in it can
//! be of the wrong one.

/// A part whose value is a number. Errors are the index of the variable that has no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Constant(f64),
    Variable(usize),
    Negate(Box<Number>),
    Arithmetic(Arithmetic, Box<[Number; 2]>),
    Choose(Box<(Condition, Number, Number)>),
    One(Function, Box<Number>),
    Min(Box<[Number]>),
    Max(Box<[Number]>),
    Clamp(Box<[Number; 3]>),
}

/// A part that is true or not.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    Constant(bool),
    Has(usize),
    Not(Box<Condition>),
    And(Box<[Condition; 2]>),
    Or(Box<[Condition; 2]>),
    Compare(Comparison, Box<[Number; 2]>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    Exp,
    Sqrt,
    Abs,
}

impl Number {
    pub(super) fn evaluate(&self, values: &[f64]) -> Result<f64, usize> {
        Ok(match self {
            Number::Constant(value) => *value,
            Number::Variable(index) => present(values, *index)?,
            Number::Negate(of) => -of.evaluate(values)?,
            Number::Arithmetic(operator, sides) => {
                operator.apply(sides[0].evaluate(values)?, sides[1].evaluate(values)?)
            }
            Number::Choose(parts) => {
                let (condition, yes, no) = parts.as_ref();
                if condition.evaluate(values)? { yes.evaluate(values)? } else { no.evaluate(values)? }
            }
            Number::One(function, of) => function.apply(of.evaluate(values)?),
            Number::Min(of) => fold(of, values, f64::min)?,
            Number::Max(of) => fold(of, values, f64::max)?,
            Number::Clamp(of) => {
                let (value, low, high) = (of[0].evaluate(values)?, of[1].evaluate(values)?, of[2].evaluate(values)?);
                // Not f64::clamp: bounds the wrong way round are the operator's slip and must not panic.
                value.max(low).min(high)
            }
        })
    }
}

impl Condition {
    fn evaluate(&self, values: &[f64]) -> Result<bool, usize> {
        Ok(match self {
            Condition::Constant(value) => *value,
            Condition::Has(index) => !values[*index].is_nan(),
            Condition::Not(of) => !of.evaluate(values)?,
            Condition::And(of) => of[0].evaluate(values)? && of[1].evaluate(values)?,
            Condition::Or(of) => of[0].evaluate(values)? || of[1].evaluate(values)?,
            Condition::Compare(comparison, sides) => {
                comparison.apply(sides[0].evaluate(values)?, sides[1].evaluate(values)?)
            }
        })
    }
}

impl Arithmetic {
    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Arithmetic::Add => left + right,
            Arithmetic::Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Remainder => left % right,
        }
    }
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "the operator wrote ==, and means it")]
    fn apply(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
        }
    }
}

impl Function {
    fn apply(self, of: f64) -> f64 {
        match self {
            Function::Exp => of.exp(),
            Function::Sqrt => of.sqrt(),
            Function::Abs => of.abs(),
        }
    }
}

fn present(values: &[f64], index: usize) -> Result<f64, usize> {
    if values[index].is_nan() { Err(index) } else { Ok(values[index]) }
}

/// `f64::min` and `max` pass over a NaN; here one (0/0 in an argument) must not vanish, so it is kept.
fn fold(of: &[Number], values: &[f64], better: fn(f64, f64) -> f64) -> Result<f64, usize> {
    let mut best = of[0].evaluate(values)?;
    for other in &of[1..] {
        let other = other.evaluate(values)?;
        best = if best.is_nan() || other.is_nan() { f64::NAN } else { better(best, other) };
    }
    Ok(best)
}
