//! Every name, once. docs/metrics.md has the same table, and a test compares them. Names stay: what is not right gets a new
//! name beside the old one.

use slr_daemon::metrics::{Family, Kind};

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(pub const $constant: Family = Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// All, in the page's order: what the documentation is compared with.
        #[cfg(test)]
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
}

families! {
    PACKETS = Counter "slr_router_packets_total" ["reason" "verdict"] "Packets, by what became of them (`slr-router show counters`).";
    BYTES = Counter "slr_router_bytes_total" ["reason" "verdict"] "Bytes of the same, as they came in.";
    FLOWS_PINNED = Gauge "slr_router_flows_pinned" ["family"] "Flows with a recorded host.";
    FLOWS_PENDING = Gauge "slr_router_flows_pending" ["family"] "Flows that have not shown two ends yet.";
    FLOWS_CAPACITY = Gauge "slr_router_flows_capacity" ["family"] "Pinned flows that the table has room for.";
    HOP_PACKETS = Counter "slr_router_hop_packets_total" ["host"] "Packets tunnelled to the host.";
    HOP_BYTES = Counter "slr_router_hop_bytes_total" ["host"] "Bytes of the clients' datagrams in them.";
    HOP_NEW_FLOWS = Counter "slr_router_hop_new_flows_total" ["host"] "Flows placed on the host.";
    HOP_UP = Gauge "slr_router_hop_up" ["host"] "1 if the host's link is resolved and its tunnel usable.";
    HOP_MTU = Gauge "slr_router_hop_mtu_bytes" ["host"] "Largest outer datagram that fits the path.";
    SUBNET_PACKETS = Counter "slr_router_subnet_packets_total" ["subnet" "account"] "Packets for the virtual subnet. Replies do not pass here: `slr_hostd_subnet_packets_total` has both ways.";
    SUBNET_BYTES = Counter "slr_router_subnet_bytes_total" ["subnet" "account"] "Bytes of the same.";
    SUBNET_NEW_FLOWS = Counter "slr_router_subnet_new_flows_total" ["subnet" "account"] "Flows placed.";
    RING_SLOTS = Gauge "slr_router_ring_slots" ["subnet" "service" "class"] "Slots of the ring.";
    SLOTS_MOVED = Counter "slr_router_slots_moved_total" ["subnet" "service" "class"] "Slots that changed their host; `slr_router_ring_slots` of them are everything.";
    BUDGET_CLIPPED = Counter "slr_router_budget_clipped_total" ["subnet" "service" "class"] "Evaluations whose change was cut down to the budget of slots.";
    SERVICE_STATE = Gauge "slr_router_service_state" ["host" "subnet" "service" "state"] "1 for the state that the service is in at this host, 0 for the others: active, draining, silent, down.";
    SERVICE_STATE_AGE = Gauge "slr_router_service_state_age_seconds" ["host" "subnet" "service"] "How long it has been in that state.";
    SERVICE_HELD = Gauge "slr_router_service_held" ["host" "subnet" "service"] "1 if it is lost but keeps its place, since most others of the service are lost too.";
    SERVICE_FLOWS = Gauge "slr_router_service_flows" ["host" "subnet" "service"] "Flows that the host says it has.";
    LOAD = Gauge "slr_router_load" ["host" "subnet" "service" "load"] "A load value as advertised; `subnet` and `service` are empty for one of the host as a whole.";
    COST = Gauge "slr_router_cost" ["host" "subnet" "service" "class"] "What the cost expression F says.";
    WEIGHT = Gauge "slr_router_weight" ["host" "subnet" "service" "class"] "Weight in the ring.";
    SHARE = Gauge "slr_router_share_ratio" ["host" "subnet" "service" "class"] "Share of the ring's slots, 0 to 1: of new flows, that is.";
    SESSION = Gauge "slr_router_session" ["host" "state"] "1 for the state of the host's session, 0 for the others: heard, fading (not heard, and counts as before), adopted (from before a restart), silent.";
    ROUTER_SESSION = Gauge "slr_router_router_session" ["router"] "1 if there is a session with this router of the cluster or the tier above.";
    HANDSHAKES_REFUSED = Counter "slr_router_handshakes_refused_total" ["reason"] "Nodes refused, by reason; the log has the names.";
    MESSAGES_BAD = Counter "slr_router_messages_bad_total" ["reason"] "Control messages that were not taken.";
    INPUTS_MISSING = Counter "slr_router_inputs_missing_total" ["input"] "Evaluations in which a host lacked a value that the expression names, and got the others' median cost.";
    PATH = Gauge "slr_router_path" ["host" "address" "state"] "1 for the state of the path to the tunnel address, 0 for the others: unknown, alive, lost.";
    KEEPALIVE_RTT = Gauge "slr_router_keepalive_rtt_seconds" ["host" "address"] "Smoothed round trip of keepalives through the tunnel.";
    KEEPALIVE_RTT_MIN = Gauge "slr_router_keepalive_rtt_min_seconds" ["host" "address"] "The shortest of the last 100.";
    KEEPALIVE_LOSS = Gauge "slr_router_keepalive_loss_ratio" ["host" "address"] "Unanswered ones of the last 100, 0 to 1.";
    KEEPALIVES = Counter "slr_router_keepalives_total" ["result"] "Keepalives and answers: answered, unanswered, late, duplicate, forged, unsendable (counted as unanswered too), malformed, read_error.";
    ALARMS = Gauge "slr_router_alarms" ["kind"] "Alarms that stand: vanish (most hosts of a service lost at once: they are held), name (two nodes use one), tunnel (two names with one address).";
    ANNOUNCED = Gauge "slr_router_announced" ["subnet" "level"] "1 for the level that the virtual subnet is announced at, 0 for the others: normal, lowered, withdrawn.";
    ANNOUNCE_CHANGES = Counter "slr_router_announce_changes_total" ["level"] "Times that a virtual subnet's level became this one.";
    ANNOUNCE_FAILING = Gauge "slr_router_announce_failing" [] "1 if the kernel's table of announcements is not as it should be (`slr-router show announce` says why).";
    RECOVERED = Counter "slr_router_recovered_flows_total" ["rung"] "Flows brought back, by what did it: mirror (another member of the cluster had told of them), same-answer (a search, and the claim of the host that their slot has now: the ring's answer was right), chain (a search, and the claim of another host: one that the slot had before, or of a new connection its second choice), whohas (another router was asked), echo (their host told of them by way of their client).";
    CLAIMS = Counter "slr_router_recovery_claims_total" ["result"] "Flows that hosts claimed after a search: pinned, known (pinned there already), or why they were refused: not_allowed (certificate), service_down, no_session, owned (another host has the flow), not_served, no_hop, table_full.";
    ADVERTS = Counter "slr_router_recovery_adverts_total" ["result"] "Flows that hosts told of by way of their clients: pinned, known (pinned there already), or why they were refused: not_allowed (certificate), service_down, unknown_host, owned (another host has the flow), not_served, no_hop, table_full; malformed, in packets.";
    HALF_OPEN = Counter "slr_router_half_open_total" ["result"] "Connections of hosts that went down: nudged (segments to their clients, up to two of a connection, so that they speak and the connection ends), refused (connections beyond 65,536 at once).";
    FLOW_EPOCH = Gauge "slr_router_flow_epoch" [] "Epoch of the keys that hosts are granted for this; the same at all routers of a trust domain.";
    FLOW_EPOCHS_REFUSED = Counter "slr_router_flow_epochs_refused_total" [] "Epochs that another router told of and that were too far ahead.";
    MIRROR_STATE = Gauge "slr_router_mirror_state" ["router" "direction" "state"] "1 for the state of the mirror at (told) or of (heard) this router of the cluster, 0 for the others: cold, lagging, warm.";
    MIRROR_LAG = Gauge "slr_router_mirror_lag_seconds" ["router" "at"] "From a new pin to the router's answer, in the last minute: p50, p99, max.";
    MIRROR_QUEUE = Gauge "slr_router_mirror_queue" ["router"] "Flows that wait for this router.";
    MIRROR_FLOWS = Counter "slr_router_mirror_flows_total" ["router" "result"] "Flows of the mirror: sent; heard ones by what became of them: pinned, known, forgotten, or why they were refused: owned (another host has the flow, and it has spoken here), not_served, no_hop, host_down, table_full.";
    MIRROR_RESYNCS = Counter "slr_router_mirror_resyncs_total" ["router"] "Times that this router was told everything.";
    MIRROR_LOST = Counter "slr_router_mirror_records_lost_total" [] "New pins that the program had no room to tell of; everything was told again.";
    RELOADS = Counter "slr_router_config_reloads_total" ["result"] "Reloads: applied, refused.";
    CONFIG_GOOD = Gauge "slr_router_config_last_good" [] "1 if the last configuration given was put in force, 0 if it was refused and the one before stays.";
    CONFIG_SINCE = Gauge "slr_router_config_in_force_timestamp_seconds" [] "When the configuration in force was put in force.";
    TURNS = Counter "slr_router_loop_turns_total" [] "Turns of the control loop.";
    TURN_BUSY = Counter "slr_router_loop_busy_seconds_total" [] "Time that they took, without waiting: the loop's share of a core.";
    TURN_LONGEST = Gauge "slr_router_loop_turn_longest_seconds" [] "The longest turn since the snapshot before.";
    EVALUATION = Gauge "slr_router_evaluation_seconds" [] "The last evaluation of all policies.";
    CERTIFICATE_END = Gauge "slr_router_certificate_end_timestamp_seconds" ["certificate"] "When it ends: own, ca, crl (the revocation list).";
}
