//! The times the registry works by.

use std::time::Duration;

/// The registry's times and switches. Shipped values are the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often a child adverts; it is told so in the welcome.
    pub advert_interval: Duration,
    /// Without an advert for this long, contact with a host is lost. At least twice `advert_interval`, or one lost
    /// datagram would do.
    pub silent_after: Duration,
    /// Between two asks for an advert of a host that may be away.
    pub ask_interval: Duration,
    /// So many asks without an answer, and contact is lost with a host whose tunnel does not answer either.
    pub asks_lost: u32,
    /// How long a host that is lost still counts as before, so that a loss of most hosts is seen as one event.
    pub vanish_window: Duration,
    /// Contact and path that are lost within this time are one failure, with one window.
    pub one_fault: Duration,
    /// How long the hosts that are still away stay held once at most half of a service's hosts are: the others have
    /// just come back, and these may be waiting for their next try.
    pub hold_settle: Duration,
    /// How long the hosts of a snapshot may take to come back.
    pub adopt_hold: Duration,
    /// A host that is silent, or down because it cannot be reached, is removed after this long.
    pub forget_after: Duration,
    /// How long an alarm about two nodes with one name or one address stays after the last sign of it.
    pub conflict_memory: Duration,
    /// How long the last session of a removed name is remembered, so that an older one cannot bring it back.
    pub gone_memory: Duration,
    /// Whether a host gets new flows only once its tunnel has answered a keepalive. Without keepalives, never set.
    pub await_path: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let advert_interval = Duration::from_millis(1_000);
        Self {
            advert_interval,
            silent_after: advert_interval * 5 / 2,
            ask_interval: Duration::from_millis(100),
            asks_lost: 4,
            vanish_window: Duration::from_millis(300),
            one_fault: Duration::from_secs(1),
            hold_settle: Duration::from_secs(5),
            adopt_hold: Duration::from_secs(10),
            forget_after: Duration::from_secs(3_600),
            conflict_memory: Duration::from_secs(60),
            gone_memory: Duration::from_secs(60),
            await_path: true,
        }
    }
}

impl Settings {
    /// Unheard for this long, a host is asked: one advert may be late, or lost.
    pub(super) fn ask_after(&self) -> Duration {
        (self.advert_interval * 3 / 2).min(self.silent_after)
    }

    /// A host that was heard while its path is in doubt is asked again after this: the doubt lasts for less than three of these.
    pub(super) fn ask_again(&self) -> Duration {
        self.ask_interval * 3
    }

    /// Unheard for this long when another host's window ends, a host counts as vanishing with it.
    ///
    /// Hosts advert at different moments of the interval: when all are cut off at once, the last one's silence is found
    /// an interval after the first one's. A quarter more is for late datagrams; below one and a half intervals a host is
    /// not late at all.
    pub(super) fn late_after(&self) -> Duration {
        let decided = self.silent_after + self.vanish_window;
        decided.saturating_sub(self.advert_interval * 5 / 4).max(self.advert_interval * 3 / 2)
    }
}
