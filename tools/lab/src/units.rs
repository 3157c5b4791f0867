//! Values with units, as people write them on the command line and read them in tables.

use std::time::Duration;

/// `A-B`.
pub fn link_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('-') {
        Some((a, b)) if !a.is_empty() && !b.is_empty() => Ok((a.to_owned(), b.to_owned())),
        _ => Err("a link is named by the two nodes it joins, as in c1-internet".to_owned()),
    }
}

/// `5ms`, `300us`, `1s`, `2.5ms`, `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text);
    let seconds_per_unit = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "" if number == Some(0.0) => 1.0,
        _ => return Err("a delay has a unit: 300us, 5ms, 1s".to_owned()),
    };
    let seconds = number.ok_or("a delay is a number with a unit, such as 5ms")? * seconds_per_unit;
    if !(0.0..=60.0).contains(&seconds) {
        return Err("a delay is between 0 and 60s".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `1%` as 0.01.
pub fn percentage(text: &str) -> Result<f64, String> {
    let (number, unit) = number_and_unit(text);
    match (number, unit) {
        (Some(percent), "%") if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        (Some(0.0), "") => Ok(0.0),
        _ => Err("a loss is a percentage, such as 1% or 0.1%".to_owned()),
    }
}

/// `100mbit` in bits per second; 0 is unlimited.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within 0 and 1e12")]
pub fn rate(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text);
    let bits_per_unit = match unit {
        "unlimited" if text == unit => return Ok(0),
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        "" if number == Some(0.0) => 1.0,
        _ => return Err("a rate has a unit: 500kbit, 100mbit, 1gbit; or \"unlimited\"".to_owned()),
    };
    let bits = number.ok_or("a rate is a number with a unit, such as 100mbit")? * bits_per_unit;
    if (0.0..=1e12).contains(&bits) { Ok(bits.round() as u64) } else { Err("a rate is up to 1000gbit".to_owned()) }
}

/// `on` or `off`.
pub fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("either on or off".to_owned()),
    }
}

/// A delay as a table shows it.
pub fn show_delay(us: u64) -> String {
    match us {
        0 => "-".to_owned(),
        us if us % 1_000 == 0 => format!("{} ms", us / 1_000),
        us => format!("{}.{:03} ms", us / 1_000, us % 1_000),
    }
}

/// A number of bytes, with three significant digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A rate in bits per second.
#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
pub fn show_rate(bps: u64) -> String {
    match bps {
        0..1_000_000 => format!("{} kbit/s", bps as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{} Mbit/s", bps as f64 / 1e6),
        _ => format!("{} Gbit/s", bps as f64 / 1e9),
    }
}

fn number_and_unit(text: &str) -> (Option<f64>, &str) {
    let border = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (text[..border].parse().ok(), text[border..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_read() {
        assert_eq!(duration("2.5ms"), Ok(Duration::from_micros(2_500)));
        assert_eq!(duration("300us"), Ok(Duration::from_micros(300)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(["5", "ms", "-5ms", "5min", "61s", ""].iter().all(|text| duration(text).is_err()));
        assert_eq!(percentage("0.5%"), Ok(0.005));
        assert!(["1", "101%", "%", "x%"].iter().all(|text| percentage(text).is_err()));
        assert_eq!((rate("1.5gbit"), rate("unlimited"), rate("0")), (Ok(1_500_000_000), Ok(0), Ok(0)));
        assert!(["100", "5unlimited", "mbit", "9999gbit"].iter().all(|text| rate(text).is_err()));
        assert_eq!(link_name("c1-internet"), Ok(("c1".to_owned(), "internet".to_owned())));
        assert!(["c1", "-b", "a-"].iter().all(|text| link_name(text).is_err()));
    }

    #[test]
    fn tables_show_values_with_units() {
        assert_eq!([show_delay(0), show_delay(5_000), show_delay(2_500)], ["-", "5 ms", "2.500 ms"]);
        assert_eq!([show_bytes(999), show_bytes(1_500), show_bytes(100_000_000)], ["999 B", "1.5 kB", "100.0 MB"]);
        assert_eq!([show_rate(500_000), show_rate(100_000_000)], ["500 kbit/s", "100 Mbit/s"]);
    }
}
