//! Numbers against their bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::Complaints;

impl Complaints {
    /// The number as it was written, or `default`.
    pub fn number(
        &mut self,
        name: &str,
        value: &Option<Spanned<u64>>,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> u32 {
        let Some(value) = value else { return default };
        let good = u32::try_from(*value.get_ref()).ok().filter(|number| range.contains(number));
        good.unwrap_or_else(|| {
            let remedy = format!("{} to {}, or nothing for the default of {default}", range.start(), range.end());
            self.add(value.span(), format!("{name} is {}", value.get_ref()), &remedy);
            default
        })
    }

    /// A time in milliseconds.
    pub fn millis(
        &mut self,
        name: &str,
        value: &Option<Spanned<u64>>,
        default: Duration,
        range: RangeInclusive<u32>,
    ) -> Duration {
        Duration::from_millis(self.number(name, value, default.as_millis() as u32, range).into())
    }

    /// A time in seconds.
    pub fn seconds(
        &mut self,
        name: &str,
        value: &Option<Spanned<u64>>,
        default: Duration,
        range: RangeInclusive<u32>,
    ) -> Duration {
        Duration::from_secs(self.number(name, value, default.as_secs() as u32, range).into())
    }

    /// A field that belongs to another kind.
    pub fn unused<T>(&mut self, field: &str, value: &Option<Spanned<T>>, kinds: &str) {
        if let Some(value) = value {
            self.add(value.span(), format!("{field} means nothing here"), &format!("it goes with {kinds}"));
        }
    }
}
