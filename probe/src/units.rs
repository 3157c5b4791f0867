//! Durations, sizes and percentages as people type and read them.

use std::time::Duration;

/// Reads `250ms`, `10s`, `2m`, `1h`, `80us`; a bare number is refused, because it does not say its unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" => return Err(format!("`{text}` has no unit: write for instance {text}s or {text}ms")),
        other => return Err(format!("`{other}` is no unit of time: use us, ms, s, m or h")),
    };
    let number: f64 =
        number.parse().map_err(|_| format!("`{text}` is no duration: write for instance 10s or 250ms"))?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| format!("`{text}` is out of range"))
}

/// Reads `100000`, `64k`, `100M`, `1G` (decimal multiples).
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no size: write for instance 100000, 64k or 100M"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is out of range"))
}

/// Three significant digits and a unit: `412 us`, `1.24 ms`, `10.2 s`.
pub fn show_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{} ms", three_digits(us as f64 / 1e3)),
        _ => format!("{} s", three_digits(us as f64 / 1e6)),
    }
}

/// Three significant digits and a decimal multiple: `980 B`, `1.35 MB`.
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", three_digits(bytes as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} MB", three_digits(bytes as f64 / 1e6)),
        _ => format!("{} GB", three_digits(bytes as f64 / 1e9)),
    }
}

/// `1234567` as `1,234,567`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["10", "", "s", "1.2.3s", "10 s", "10d", "-1s", "99999999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("64k"), Ok(64_000));
        assert_eq!(parse_bytes("100M"), Ok(100_000_000));
        assert_eq!(parse_bytes("7"), Ok(7));
        for bad in ["", "k", "1.5M", "-1", "99999999999999G"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_with_three_digits() {
        assert_eq!(show_us(999), "999 us");
        assert_eq!(show_us(1_240), "1.24 ms");
        assert_eq!(show_us(12_400), "12.4 ms");
        assert_eq!(show_us(10_240_000), "10.2 s");
        assert_eq!(show_bytes(1_350_000), "1.35 MB");
        assert_eq!(show_count(0), "0");
        assert_eq!(show_count(123), "123");
        assert_eq!(show_count(1_234_567), "1,234,567");
    }
}
