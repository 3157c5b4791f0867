//! Points in time as this tool writes and prints them: RFC 3339, UTC, whole seconds, as certificates have them.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A point in time, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(OffsetDateTime);

impl Moment {
    /// The present.
    pub fn now() -> Self {
        Self::from_unix(OffsetDateTime::now_utc().unix_timestamp()).expect("the clock shows a year before 9999")
    }

    /// So many seconds after 1970. None for what no calendar has.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds).ok().map(Self)
    }

    /// Seconds after 1970.
    pub fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// The moment so much later.
    pub fn after(self, duration: Duration) -> Result<Self> {
        let seconds = i64::try_from(duration.as_secs()).ok().and_then(|seconds| self.unix().checked_add(seconds));
        match seconds.and_then(Self::from_unix) {
            Some(moment) if moment.0.year() < 9999 => Ok(moment),
            _ => bail!("{duration:?} from now is past the year 9999, where certificates end; choose less"),
        }
    }

    /// The moment so much earlier.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }

    /// For the library that makes certificates.
    pub(crate) fn date_time(self) -> OffsetDateTime {
        self.0
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let text = self.0.format(&Rfc3339).map_err(|_| fmt::Error)?;
        formatter.pad(&text)
    }
}

impl FromStr for Moment {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339)
            .with_context(|| format!("\"{text}\" is not a time such as 2026-01-31T12:00:00Z"))?;
        Self::from_unix(time.unix_timestamp()).with_context(|| format!("\"{text}\" is out of range"))
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Reads a length of time: a whole number and one of `s`, `m`, `h`, `d`.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let refused = || format!("\"{text}\" is not a length of time such as 90d, 12h, 30m or 5s");
    let split = text.find(|c: char| !c.is_ascii_digit()).with_context(refused)?;
    let (digits, unit) = text.split_at(split);
    let count: u64 = digits.parse().with_context(refused)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => bail!(refused()),
    };
    count.checked_mul(seconds).map(Duration::from_secs).with_context(refused)
}

/// A length of time for people, to two units at most: `89d 23h`.
pub fn human(seconds: i64) -> String {
    let absolute = seconds.unsigned_abs();
    let (days, hours, minutes) = (absolute / 86_400, absolute / 3_600 % 24, absolute / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{absolute}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_round_trip_as_text() {
        let moment = Moment::from_unix(1_800_000_000).unwrap();
        assert_eq!(moment.to_string(), "2027-01-15T08:00:00Z");
        assert_eq!(moment.to_string().parse::<Moment>().unwrap(), moment);
    }

    #[test]
    fn durations_have_one_unit() {
        assert_eq!(parse_duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_duration("90d").unwrap(), Duration::from_secs(90 * 86_400));
        for bad in ["", "5", "d", "5 d", "-5s", "1w", "5s5", "99999999999999999999d", "999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_moment_lies_past_the_last_year_of_certificates() {
        assert!(Moment::now().after(Duration::from_secs(u64::MAX)).is_err());
        assert!(Moment::now().after(Duration::from_secs(9_000 * 366 * 86_400)).is_err());
    }

    #[test]
    fn lengths_are_short_for_people() {
        let table = [(5, "5s"), (-60, "1m"), (3_660, "1h 1m"), (90 * 86_400 + 3_600, "90d 1h")];
        for (seconds, text) in table {
            assert_eq!(human(seconds), text);
        }
    }
}
