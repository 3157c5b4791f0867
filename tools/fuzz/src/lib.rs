//! What targets share.

use slr_daemon::config::ConfigError;
use slr_policy::Expression;

/// Values that an expression may meet when it is used: nothing, the ends, and what no sensible source says.
const VALUES: [Option<f64>; 7] =
    [None, Some(0.0), Some(0.5), Some(-1.0), Some(f64::MAX), Some(f64::MIN_POSITIVE), Some(f64::INFINITY)];

/// A refusal says what is wrong, and then which line of the file it is about.
pub fn assert_shows_line(origin: &str, text: &str, error: &ConfigError) {
    let ConfigError::Refused(shown) = error else { panic!("text that is here was not read: {error}") };
    let shown = shown.to_string();
    let mut lines = shown.lines();
    assert!(lines.next().is_some_and(|title| title.starts_with("error: ") && title.len() > 7), "{shown}");
    let place =
        lines.next().and_then(|line| line.trim_start().strip_prefix("--> ")?.strip_prefix(origin)?.strip_prefix(':'));
    let line = place.and_then(|place| place.split(':').next()?.parse::<usize>().ok());
    let count = text.split('\n').count();
    assert!(line.is_some_and(|line| (1..=count).contains(&line)), "no line of 1 to {count}:\n{shown}");
}

/// An expression that a configuration was taken with has a number or an error, whatever the values are.
pub fn evaluate(expression: &Expression) {
    for value in VALUES {
        if let Ok(result) = expression.evaluate(|_| value) {
            assert!(result.is_finite(), "{} of {value:?} is {result}", expression.source());
        }
    }
}
