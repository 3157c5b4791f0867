//! `[announce]`.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use slr_daemon::config::Complaint;
use toml::Spanned;

use super::DEFAULT_SOCKET;
use super::number::{millis, number, seconds};
use crate::config::announce::Announce;
use crate::config::file;

/// The mark stands beside the admin socket when the configuration names no place.
const MARK: &str = "announce";
/// Tables with names of their own: unspecified, compat, default, main, local.
const TABLES_TAKEN: [u32; 5] = [0, 252, 253, 254, 255];
/// Protocol numbers that `/usr/include/linux/rtnetlink.h` and iproute2's `rt_protos` give to others. Whoever they are, they
/// remove routes under their number as theirs.
const PROTOCOLS_TAKEN: [RangeInclusive<u32>; 8] =
    [0..=4, 8..=18, 42..=42, 84..=84, 99..=99, 186..=189, 192..=192, 196..=196];

/// Checks it.
pub fn announce(file: &file::File, folder: &Path, found: &mut Vec<Complaint>) -> Option<Announce> {
    let given = file.announce.as_ref()?.get_ref();
    let table = number("table", &given.table, 6_100, 1..=u32::MAX, found);
    complain_if(TABLES_TAKEN.contains(&table), &given.table, found, || {
        (
            format!("table {table} is one that every packet may be looked up in"),
            "write a number that is not used otherwise, such as 6100 (the default)",
        )
    });
    let protocol = number("protocol", &given.protocol, 61, 1..=255, found);
    complain_if(PROTOCOLS_TAKEN.iter().any(|taken| taken.contains(&protocol)), &given.protocol, found, || {
        (
            format!("protocol {protocol} is another program's"),
            "write a number that /etc/iproute2/rt_protos does not have, such as 61 (the default)",
        )
    });
    let metric = number("metric", &given.metric, 100, 1..=1_000_000, found);
    let metric_lowered = number("metric_lowered", &given.metric_lowered, 1_000, 2..=2_000_000, found);
    complain_if(metric_lowered <= metric, &given.metric_lowered, found, || {
        (
            format!("metric_lowered is {metric_lowered}, and metric {metric}"),
            "the lowered one must be greater: a route with a smaller metric is preferred",
        )
    });
    let socket = file.admin.socket.as_ref().map_or(DEFAULT_SOCKET.into(), |path| folder.join(path.get_ref()));
    Some(Announce {
        table,
        protocol: u8::try_from(protocol).unwrap_or(u8::MAX),
        metric,
        metric_lowered,
        announce_after: millis(
            "announce_after_ms",
            &given.announce_after_ms,
            Duration::from_secs(3),
            0..=600_000,
            found,
        ),
        withdraw_after: millis(
            "withdraw_after_ms",
            &given.withdraw_after_ms,
            Duration::from_secs(1),
            0..=600_000,
            found,
        ),
        lowered: millis("lowered_ms", &given.lowered_ms, Duration::from_secs(5), 0..=600_000, found),
        on_stop: given.on_stop,
        away: seconds("away_s", &given.away_s, Duration::from_secs(30), 1..=86_400, found),
        mark: given.mark.as_ref().map_or_else(|| socket.with_extension(MARK), |path| folder.join(path)),
    })
}

fn complain_if(
    is_wrong: bool,
    at: &Option<Spanned<u64>>,
    found: &mut Vec<Complaint>,
    what: impl FnOnce() -> (String, &'static str),
) {
    // A default is never wrong by itself; the line that makes it so may be another's, which is then at fault as well.
    if is_wrong {
        let (message, remedy) = what();
        found.push(Complaint::new(at.as_ref().map_or(0..0, Spanned::span), message, remedy));
    }
}
