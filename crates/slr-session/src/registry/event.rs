//! What the registry tells: changes of state, alarms, connections to close.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use slr_model::{NodeName, ServiceKey};

use super::{ConnectionId, Reason, Refusal, ServiceState, SessionId};

/// Most events kept for a reader that does not come; the oldest go first and are counted. Everything they tell is in
/// the views as well. Room for every service of a large site to change twice.
pub(super) const EVENTS_MAX: usize = 16_384;

/// Names that an alarm spells out; the views have them all.
const NAMES_SHOWN: usize = 8;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The connection is to be closed, with this code and text.
    Close {
        /// Which.
        connection: ConnectionId,
        /// What to tell the other side.
        refusal: Refusal,
    },
    /// The node is to be asked for an advert: it may be away.
    Ask {
        /// Its connection.
        connection: ConnectionId,
    },
    /// A node has a connection.
    Connected {
        /// Its name.
        name: NodeName,
        /// Which session.
        session: SessionId,
        /// The older connection that this one replaces.
        superseded: Option<ConnectionId>,
    },
    /// A node's connection ended, and no newer one had replaced it.
    Disconnected {
        /// Its name.
        name: NodeName,
        /// Why.
        why: String,
    },
    /// A service of a node is in another state.
    State {
        /// The node.
        name: NodeName,
        /// The service.
        key: ServiceKey,
        /// Before; [`ServiceState::Removed`] for a new one.
        from: ServiceState,
        /// Now.
        to: ServiceState,
        /// Why.
        reason: Reason,
    },
    /// A node advertises what it may not, or more than there is room for. Told once a connection for each service.
    ServiceRefused {
        /// The node.
        name: NodeName,
        /// The service.
        key: ServiceKey,
        /// Why, and what to do.
        why: String,
    },
    /// A node is gone, its services before it.
    HostRemoved {
        /// Its name.
        name: NodeName,
        /// Why.
        reason: Reason,
    },
    /// Somebody should look at this.
    AlarmRaised(Alarm),
    /// It is over.
    AlarmCleared(Alarm),
}

/// What an alarm is about; there is one at a time for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKey {
    /// More than half of a service's hosts vanished at once.
    Vanish(ServiceKey),
    /// Two nodes use a name.
    Name(NodeName),
    /// Two names have a tunnel address.
    Tunnel(IpAddr),
}

/// An alarm: what happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about.
    pub key: AlarmKey,
    /// When it was raised.
    pub since: Instant,
    /// The nodes concerned, by name.
    pub names: Vec<NodeName>,
    /// The sentence for people.
    pub text: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Names for a sentence, not more than fit one.
pub(super) fn list(names: &[NodeName]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Events that wait for their reader.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    /// Never dropped. Bounded by the connections: each is closed once and not known afterwards.
    closes: VecDeque<(ConnectionId, Refusal)>,
    told: VecDeque<Event>,
    /// Events that were dropped unread.
    pub lost: u64,
}

impl Events {
    pub fn push(&mut self, event: Event) {
        if self.told.len() == EVENTS_MAX {
            self.told.pop_front();
            self.lost += 1;
        }
        self.told.push_back(event);
    }

    pub fn close(&mut self, connection: ConnectionId, refusal: Refusal) {
        self.closes.push_back((connection, refusal));
    }

    pub fn pop(&mut self) -> Option<Event> {
        match self.closes.pop_front() {
            Some((connection, refusal)) => Some(Event::Close { connection, refusal }),
            None => self.told.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_does_not_come_loses_news_but_no_connection_to_close() {
        let mut events = Events::default();
        let name: NodeName = "h1".parse().unwrap();
        events.close(ConnectionId(7), Refusal::new(super::super::RefusalCode::Superseded, "why", "remedy"));
        for _ in 0..EVENTS_MAX + 3 {
            events.push(Event::Disconnected { name: name.clone(), why: String::new() });
        }
        assert!(matches!(events.pop(), Some(Event::Close { connection: ConnectionId(7), .. })));
        assert_eq!((std::iter::from_fn(|| events.pop()).count(), events.lost), (EVENTS_MAX, 3));
    }

    #[test]
    fn a_long_list_of_names_ends() {
        let names: Vec<NodeName> = (0..10).map(|n| format!("h{n}").parse().unwrap()).collect();
        assert_eq!(list(&names), "h0, h1, h2, h3, h4, h5, h6, h7 and 2 more");
        assert_eq!(list(&names[..2]), "h0, h1");
    }
}
