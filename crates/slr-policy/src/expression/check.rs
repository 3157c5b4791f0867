//! From what the parser found to a checked tree, or to the first fault in it.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, SelectExpr, operators},
};

use super::{
    Expression, Fault, Variable, Vocabulary, load_variable,
    tree::{Arithmetic, Comparison, Condition, Function, Number},
};

/// The functions, as an error lists them.
pub(super) const FUNCTIONS: &str = "min(a, b, …), max(a, b, …), clamp(value, low, high), exp(a), sqrt(a), abs(a)";

/// A fault and the parser's number of the part that has it.
type Found<T> = Result<T, (Fault, u64)>;

/// The deepest that a checked tree may be. Chains such as `a + b + c` lean to the left and are as deep as they are
/// long: half the longest source. An evaluation uses about a hundred bytes of stack for each level.
const TREE_DEPTH_MAX: usize = Expression::SOURCE_MAX / 2;

pub(super) struct Checker<'a> {
    vocabulary: &'a Vocabulary,
    pub(super) variables: Vec<Variable>,
}

/// Refuses nesting that is too deep before the parser, which recurses, sees it: brackets, and the marks that nest
/// without one (`!`, `-`, `?`). The offset of the first that is too deep.
pub(super) fn nesting(source: &str) -> Result<(), usize> {
    let (mut depth, mut marks) = (0usize, 0usize);
    for (at, byte) in source.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'?' | b'!' | b'-' => marks += 1,
            _ => {}
        }
        if depth > Expression::DEPTH_MAX || marks > 4 * Expression::DEPTH_MAX {
            return Err(at);
        }
    }
    Ok(())
}

impl<'a> Checker<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary) -> Self {
        Self { vocabulary, variables: Vec::new() }
    }

    /// The part as a number.
    pub(super) fn number(&mut self, part: &IdedExpr, depth: usize) -> Found<Number> {
        if depth > TREE_DEPTH_MAX {
            return Err((Fault::TooDeep, part.id));
        }
        match &part.expr {
            Expr::Literal(LiteralValue::Double(value)) => Ok(Number::Constant(*value.inner())),
            Expr::Literal(LiteralValue::Int(value)) => Ok(Number::Constant(*value.inner() as f64)),
            Expr::Literal(LiteralValue::UInt(value)) => Ok(Number::Constant(*value.inner() as f64)),
            Expr::Ident(name) => Ok(Number::Variable(self.known(name, part.id)?)),
            Expr::Select(select) if !select.test => Ok(Number::Variable(self.load(select, part.id)?)),
            Expr::Call(call) => self.numeric_call(call, part.id, depth + 1),
            other => Err((Fault::Type { expected: "a number", found: kind(other) }, part.id)),
        }
    }

    fn numeric_call(&mut self, call: &CallExpr, id: u64, depth: usize) -> Found<Number> {
        let args = call.args.as_slice();
        if call.target.is_some() {
            return Err((Fault::UnknownFunction { name: format!(".{}", call.func_name) }, id));
        }
        let arithmetic = match (call.func_name.as_str(), args) {
            (operators::ADD, [_, _]) => Arithmetic::Add,
            (operators::SUBSTRACT, [_, _]) => Arithmetic::Subtract,
            (operators::MULTIPLY, [_, _]) => Arithmetic::Multiply,
            (operators::DIVIDE, [_, _]) => Arithmetic::Divide,
            (operators::MODULO, [_, _]) => Arithmetic::Remainder,
            (operators::NEGATE, [of]) => return Ok(Number::Negate(Box::new(self.number(of, depth)?))),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                let condition = self.condition(condition, depth)?;
                return Ok(Number::Choose(Box::new((condition, self.number(yes, depth)?, self.number(no, depth)?))));
            }
            _ => return self.function(call, id, depth),
        };
        Ok(Number::Arithmetic(arithmetic, self.pair(args, depth)?))
    }

    fn function(&mut self, call: &CallExpr, id: u64, depth: usize) -> Found<Number> {
        let args = call.args.as_slice();
        let wrong = |name, expected| Err((Fault::Arguments { name, expected, given: args.len() }, id));
        match (call.func_name.as_str(), args) {
            ("min", [_, _, ..]) => Ok(Number::Min(self.numbers(args, depth)?)),
            ("min", _) => wrong("min", "two numbers or more"),
            ("max", [_, _, ..]) => Ok(Number::Max(self.numbers(args, depth)?)),
            ("max", _) => wrong("max", "two numbers or more"),
            ("clamp", [value, low, high]) => Ok(Number::Clamp(Box::new([
                self.number(value, depth)?,
                self.number(low, depth)?,
                self.number(high, depth)?,
            ]))),
            ("clamp", _) => wrong("clamp", "a value, the lowest and the highest it may be"),
            ("exp", [of]) => Ok(Number::One(Function::Exp, Box::new(self.number(of, depth)?))),
            ("exp", _) => wrong("exp", "one number"),
            ("sqrt", [of]) => Ok(Number::One(Function::Sqrt, Box::new(self.number(of, depth)?))),
            ("sqrt", _) => wrong("sqrt", "one number"),
            ("abs", [of]) => Ok(Number::One(Function::Abs, Box::new(self.number(of, depth)?))),
            ("abs", _) => wrong("abs", "one number"),
            (name, _) if is_operator(name) => {
                Err((Fault::Type { expected: "a number", found: found_operator(name) }, id))
            }
            (name, _) => Err((Fault::UnknownFunction { name: name.to_owned() }, id)),
        }
    }

    fn condition(&mut self, part: &IdedExpr, depth: usize) -> Found<Condition> {
        if depth > TREE_DEPTH_MAX {
            return Err((Fault::TooDeep, part.id));
        }
        let expected = "a condition";
        match &part.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => Ok(Condition::Constant(*value.inner())),
            Expr::Select(select) if select.test => Ok(Condition::Has(self.load(select, part.id)?)),
            Expr::Call(call) => self.conditional_call(call, part, depth + 1),
            Expr::Ident(_) | Expr::Select(_) => Err((Fault::Type { expected, found: "a number" }, part.id)),
            other => Err((Fault::Type { expected, found: kind(other) }, part.id)),
        }
    }

    fn conditional_call(&mut self, call: &CallExpr, part: &IdedExpr, depth: usize) -> Found<Condition> {
        let args = call.args.as_slice();
        let comparison = match (call.func_name.as_str(), args) {
            (operators::LOGICAL_NOT, [of]) => return Ok(Condition::Not(Box::new(self.condition(of, depth)?))),
            (operators::LOGICAL_AND, [left, right]) => {
                return Ok(Condition::And(Box::new([self.condition(left, depth)?, self.condition(right, depth)?])));
            }
            (operators::LOGICAL_OR, [left, right]) => {
                return Ok(Condition::Or(Box::new([self.condition(left, depth)?, self.condition(right, depth)?])));
            }
            (operators::EQUALS, [_, _]) => Comparison::Equal,
            (operators::NOT_EQUALS, [_, _]) => Comparison::NotEqual,
            (operators::LESS, [_, _]) => Comparison::Less,
            (operators::LESS_EQUALS, [_, _]) => Comparison::LessOrEqual,
            (operators::GREATER, [_, _]) => Comparison::Greater,
            (operators::GREATER_EQUALS, [_, _]) => Comparison::GreaterOrEqual,
            _ => {
                // What is wrong inside comes first; a sound number is a number where a condition belongs.
                self.number(part, depth)?;
                return Err((Fault::Type { expected: "a condition", found: "a number" }, part.id));
            }
        };
        Ok(Condition::Compare(comparison, self.pair(args, depth)?))
    }

    fn numbers(&mut self, parts: &[IdedExpr], depth: usize) -> Found<Box<[Number]>> {
        parts.iter().map(|part| self.number(part, depth)).collect()
    }

    fn pair(&mut self, parts: &[IdedExpr], depth: usize) -> Found<Box<[Number; 2]>> {
        Ok(Box::new([self.number(&parts[0], depth)?, self.number(&parts[1], depth)?]))
    }

    fn known(&mut self, name: &str, id: u64) -> Found<usize> {
        if !self.vocabulary.names.contains_key(name) {
            return Err((Fault::UnknownName { name: name.to_owned(), known: self.all_known() }, id));
        }
        Ok(self.index_of(Variable::Known(name.into())))
    }

    /// `loads.NAME`, in a vocabulary that has it.
    fn load(&mut self, select: &SelectExpr, id: u64) -> Found<usize> {
        let of_loads = matches!(&select.operand.expr, Expr::Ident(name) if name == "loads");
        let variable = load_variable(&select.field).filter(|_| of_loads && self.vocabulary.any_load);
        match variable {
            Some(variable) => Ok(self.index_of(variable)),
            None => {
                let name = match &select.operand.expr {
                    Expr::Ident(operand) => format!("{operand}.{}", select.field),
                    _ => format!(".{}", select.field),
                };
                Err((Fault::UnknownName { name, known: self.all_known() }, id))
            }
        }
    }

    fn index_of(&mut self, variable: Variable) -> usize {
        let position = self.variables.iter().position(|known| *known == variable);
        position.unwrap_or_else(|| {
            self.variables.push(variable);
            self.variables.len() - 1
        })
    }

    fn all_known(&self) -> String {
        let mut names: Vec<&str> = self.vocabulary.names().collect();
        if self.vocabulary.any_load {
            names.push("loads.NAME for any load value that hosts advertise");
        }
        names.join(", ")
    }
}

fn is_operator(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn found_operator(name: &str) -> &'static str {
    match name {
        operators::INDEX | operators::OPT_INDEX => "an index",
        operators::IN => "a test of membership",
        _ => "a condition",
    }
}

fn kind(part: &Expr) -> &'static str {
    match part {
        Expr::Literal(LiteralValue::Boolean(_)) | Expr::Select(_) => "a condition",
        Expr::Literal(LiteralValue::String(_) | LiteralValue::Bytes(_)) => "text",
        Expr::Literal(LiteralValue::Null) => "null",
        Expr::Literal(_) | Expr::Ident(_) => "a number",
        Expr::Comprehension(_) => "a loop",
        Expr::List(_) => "a list",
        Expr::Map(_) | Expr::Struct(_) => "a map",
        Expr::Call(_) => "a call",
        Expr::Unspecified => "nothing",
    }
}
