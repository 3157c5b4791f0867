//! What a host says it is doing, and where in the hierarchy an SLR stands.

use crate::text::word_enum;

word_enum! {
    /// State of one host for one service.
    ///
    /// *Silent* is not among them: a lost session takes new flows away and leaves the pins, so it is a fact about the
    /// session and not about the host. *Removed* is the absence of the host.
    #[derive(Default)]
    pub enum HostState, "a host state" {
        /// Gets new flows, in proportion to its weight, and keeps those it has.
        #[default]
        Active = "active",
        /// Keeps the flows it has and gets no new ones; it may be stopped when none remain.
        Draining = "draining",
        /// Serves nothing: gets no new flows, and the flows pinned to it are un-pinned and placed again.
        Down = "down",
    }
}

impl HostState {
    /// Whether the host may appear in a ring.
    pub const fn takes_new_flows(self) -> bool {
        matches!(self, HostState::Active)
    }

    /// Whether flows pinned to the host stay pinned.
    pub const fn keeps_flows(self) -> bool {
        matches!(self, HostState::Active | HostState::Draining)
    }
}

word_enum! {
    /// Where in the hierarchy an SLR stands (seed, Fig. 2): a parent is always of a wider tier.
    pub enum Tier, "a tier" {
        /// At the edge of the internet: chooses an autonomous system.
        Network = "network",
        /// At the edge of an autonomous system: chooses a site.
        As = "as",
        /// At a site: chooses a host.
        Site = "site",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_in_text_and_json() {
        for &state in HostState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
            assert_eq!(serde_json::from_str::<HostState>(&format!("\"{state}\"")).unwrap(), state);
        }
        for &tier in Tier::ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
            assert_eq!(serde_json::to_string(&tier).unwrap(), format!("\"{tier}\""));
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let error = "Active".parse::<HostState>().unwrap_err();
        assert_eq!(error.to_string(), "\"Active\" is not a host state: expected one of active, draining, down");
        let error = serde_json::from_str::<Tier>("\"host\"").unwrap_err();
        assert!(error.to_string().contains("\"host\" is not a tier: expected one of network, as, site"), "{error}");
    }

    #[test]
    fn only_active_hosts_take_new_flows_and_only_down_hosts_lose_theirs() {
        let table =
            [(HostState::Active, true, true), (HostState::Draining, false, true), (HostState::Down, false, false)];
        for (state, new, kept) in table {
            assert_eq!((state.takes_new_flows(), state.keeps_flows()), (new, kept), "{state}");
        }
    }
}
