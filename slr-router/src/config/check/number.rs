//! Numbers of a configuration against their bounds.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use slr_daemon::config::Complaint;
use toml::Spanned;

/// The number as it was written, or `default`; a complaint and `default` if it is out of bounds.
pub fn number(
    name: &str,
    value: &Option<Spanned<u64>>,
    default: u32,
    range: RangeInclusive<u32>,
    found: &mut Vec<Complaint>,
) -> u32 {
    let Some(value) = value else { return default };
    match u32::try_from(*value.get_ref()) {
        Ok(number) if range.contains(&number) => number,
        _ => {
            found.push(out_of_bounds(name, value, default, &range));
            default
        }
    }
}

/// The same for what need not be whole.
pub fn fraction(
    name: &str,
    value: &Option<Spanned<f64>>,
    default: f64,
    range: RangeInclusive<f64>,
    found: &mut Vec<Complaint>,
) -> f64 {
    let Some(value) = value else { return default };
    if range.contains(value.get_ref()) {
        return *value.get_ref();
    }
    found.push(out_of_bounds(name, value, default, &range));
    default
}

/// A time in milliseconds.
pub fn millis(
    name: &str,
    value: &Option<Spanned<u64>>,
    default: Duration,
    range: RangeInclusive<u32>,
    found: &mut Vec<Complaint>,
) -> Duration {
    Duration::from_millis(number(name, value, default.as_millis() as u32, range, found).into())
}

/// A time in seconds.
pub fn seconds(
    name: &str,
    value: &Option<Spanned<u64>>,
    default: Duration,
    range: RangeInclusive<u32>,
    found: &mut Vec<Complaint>,
) -> Duration {
    Duration::from_secs(number(name, value, default.as_secs() as u32, range, found).into())
}

fn out_of_bounds<T: Display, N: Display>(
    name: &str,
    value: &Spanned<T>,
    default: N,
    range: &RangeInclusive<N>,
) -> Complaint {
    Complaint::new(
        value.span(),
        format!("{name} is {}", value.get_ref()),
        format!("write {} to {}, or nothing for the default of {default}", range.start(), range.end()),
    )
}
