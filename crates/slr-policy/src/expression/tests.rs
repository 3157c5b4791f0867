use std::time::{Duration, Instant};

use super::*;

fn vocabulary() -> Vocabulary {
    Vocabulary::new([("load", 0.5), ("share", 1.0), ("zero", 0.0)]).with_loads()
}

fn value(source: &str) -> f64 {
    let expression = Expression::compile(source, &vocabulary()).unwrap_or_else(|error| panic!("{error}"));
    let known = |variable: &Variable| match variable.to_string().as_str() {
        "load" => Some(0.8),
        "share" => Some(2.0),
        "loads.queue" => Some(7.0),
        _ => None,
    };
    expression.evaluate(known).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn fault(source: &str) -> String {
    Expression::compile(source, &vocabulary()).expect_err(source).to_string()
}

#[test]
fn formulas_have_the_values_that_arithmetic_gives_them() {
    let table: &[(&str, f64)] = &[
        ("1", 1.0),
        ("1 + 2 * 3", 7.0),
        ("7 / 2", 3.5),
        ("7 % 4", 3.0),
        ("-load", -0.8),
        ("- 2 - -2", 0.0),
        ("(1 + 2) * 3.0", 9.0),
        ("max(load, 0.25) / share", 0.4),
        ("min(3, 1, 2)", 1.0),
        ("max(3, 1, 2)", 3.0),
        ("clamp(5, 0, 1)", 1.0),
        ("clamp(-5, 0, 1)", 0.0),
        ("clamp(0.5, 1, 0)", 0.0),
        ("exp(0)", 1.0),
        ("sqrt(16)", 4.0),
        ("abs(1 - 3)", 2.0),
        ("load > 0.5 ? 10 : 20", 10.0),
        ("load > 0.5 && share < 1 ? 10 : 20", 20.0),
        ("!(load > 0.5) || share >= 2 ? 10 : 20", 10.0),
        ("load <= 0.8 ? 1 : 2", 1.0),
        ("share == 2.0 ? 1 : 2", 1.0),
        ("share != 2 ? 1 : 2", 2.0),
        ("true ? 1 : 2", 1.0),
        ("loads.queue * 2", 14.0),
        ("has(loads.queue) ? loads.queue : load", 7.0),
        ("has(loads.other) ? loads.other : load", 0.8),
        ("load\n  + share", 2.8),
    ];
    for &(source, expected) in table {
        let found = value(source);
        assert!((found - expected).abs() < 1e-12, "{source}: {found}, expected {expected}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_is_known() {
    let table: &[(&str, &[&str])] = &[
        ("laod / share", &["column 1: nothing is called laod; known are load, share, zero, loads.NAME"]),
        ("load / shrae", &["column 8: nothing is called shrae"]),
        ("load +\n  shrae", &["line 2, column 3: nothing is called shrae"]),
        ("load *", &["column 7: "]),
        ("load ** 2", &["column 7: "]),
        ("", &[": "]),
        ("load > 0.5", &["expected a number, found a condition"]),
        ("load > 0.5 + true", &["expected a number, found a condition"]),
        ("load ? 1 : 2", &["column 1: expected a condition, found a number"]),
        ("load + 1 ? 1 : 2", &["expected a condition, found a number"]),
        ("\"text\"", &["expected a number, found text"]),
        ("[1, 2].map(x, x)[0]", &["expected a number, found an index"]),
        ("[1, 2, 3].all(x, x > 0) ? 1 : 2", &["expected a condition, found a loop"]),
        ("[1, 2]", &["found a list"]),
        ("{1: 2}", &["found a map"]),
        ("null", &["found null"]),
        ("load.max(2)", &["there is no function .max"]),
        ("pow(load, 2)", &["column 4: there is no function pow; known are min(a, b, …), max"]),
        ("max(load)", &["max takes two numbers or more, not 1"]),
        ("clamp(load, 1)", &["clamp takes a value, the lowest and the highest it may be, not 2"]),
        ("sqrt(load, 1)", &["sqrt takes one number, not 2"]),
        ("other.queue", &["nothing is called other.queue"]),
        ("loads.Queue", &["nothing is called loads.Queue"]),
        ("loads", &["nothing is called loads"]),
        ("1 / zero", &["tried with zero = 0: the result is inf, not a finite number"]),
        ("max(1, zero / zero)", &["the result is NaN"]),
        ("sqrt(-load)", &["tried with load = 0.5: the result is NaN"]),
        ("größe", &["column 3: a character in it is not ASCII"]),
    ];
    for &(source, expected) in table {
        let said = fault(source);
        for part in expected {
            assert!(said.contains(part), "{source:?}: {said}");
        }
    }
}

#[test]
fn loads_need_a_vocabulary_that_has_them() {
    let plain = Vocabulary::new([("cpu", 0.5)]);
    let error = Expression::compile("loads.queue", &plain).unwrap_err();
    assert!(error.to_string().ends_with("nothing is called loads.queue; known are cpu"), "{error}");
}

#[test]
fn a_value_that_nobody_says_is_named() {
    let expression = Expression::compile("load + loads.queue", &vocabulary()).unwrap();
    let missing = expression.evaluate(|variable| (variable.name() == "load").then_some(1.0)).unwrap_err();
    assert_eq!(missing.to_string(), "no value of loads.queue is known");
    assert_eq!(expression.variables().len(), 2);
}

#[test]
fn hostile_sources_are_refused_or_done_in_bounded_time() {
    let long_sum = format!("1{}", "+1".repeat(499));
    let long_and = format!("load > 0{} ? 1 : 2", " && load > 0".repeat(80));
    let nested = |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let sources = [
        long_sum.clone(),
        long_and,
        nested("(", ")", Expression::DEPTH_MAX),
        nested("(", ")", Expression::DEPTH_MAX + 1),
        nested("max(1,", ")", 30),
        nested("-", "", 100),
        nested("!", "", 999),
        nested("[", "]", 400),
        nested("load > 0 ? ", " : 0", 40),
        "1 ? ".repeat(200),
        "(".repeat(1_000),
        "[1].map(a, ".repeat(80),
        "x".repeat(1_001),
    ];
    for source in &sources {
        let begun = Instant::now();
        let result = Expression::compile(source, &vocabulary());
        let took = begun.elapsed();
        println!(
            "{took:>12?} {:.40} {:.80}",
            source,
            result.err().map(|error| error.fault.to_string()).unwrap_or_default()
        );
        assert!(took < Duration::from_secs(2), "{source} took {took:?}");
    }
    assert!((value(&long_sum) - 500.0).abs() < 1e-9);
    assert!(fault(&"x".repeat(1_001)).contains("it has 1001 bytes, at most 1000 are allowed"));
    assert!(fault(&sources[3]).contains("it is nested more than 32 deep"));
}
