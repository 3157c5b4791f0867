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
    PACKETS = Counter "slr_hostd_packets_total" ["reason" "verdict"] "Packets, by what became of them (`hostd show counters`).";
    BYTES = Counter "slr_hostd_bytes_total" ["reason" "verdict"] "Bytes of the same.";
    SUBNET_PACKETS = Counter "slr_hostd_subnet_packets_total" ["subnet" "account" "direction"] "Packets of the virtual subnet: received out of tunnels, sent straight to clients.";
    SUBNET_BYTES = Counter "slr_hostd_subnet_bytes_total" ["subnet" "account" "direction"] "Bytes of the same, as on the wire.";
    SERVICE_STATE = Gauge "slr_hostd_service_state" ["subnet" "service" "state"] "1 for the state that the host says the service is in, 0 for the others: active, draining, down.";
    SERVICE_STATE_AGE = Gauge "slr_hostd_service_state_age_seconds" ["subnet" "service"] "How long it has been in that state.";
    SERVICE_FLOWS = Gauge "slr_hostd_service_flows" ["subnet" "service"] "Flows that the service has.";
    CHECK_HEALTHY = Gauge "slr_hostd_check_healthy" ["subnet" "service" "check"] "1 if the health check says that the service answers at its virtual address, after rise and fall.";
    CHECKS = Counter "slr_hostd_checks_total" ["subnet" "service" "check" "result"] "Health checks done: success, failure.";
    CHECK_TOOK = Gauge "slr_hostd_check_seconds" ["subnet" "service" "check"] "How long the last one took.";
    LOAD = Gauge "slr_hostd_load" ["subnet" "service" "load"] "A load value as advertised; `subnet` and `service` are empty for one of the host as a whole.";
    LOAD_FAILURES = Counter "slr_hostd_load_failures_total" ["load"] "Times that a load value could not be had.";
    SESSION = Gauge "slr_hostd_session" ["router" "state"] "1 for the state of the session with this router, 0 for the others: waiting (for the next attempt), connecting, connected, unheard (connected, but it does not acknowledge).";
    HANDSHAKES_FAILED = Counter "slr_hostd_handshakes_failed_total" ["reason"] "Connections to routers that failed, by reason; the log has the names.";
    MESSAGES_BAD = Counter "slr_hostd_messages_bad_total" ["reason"] "Control messages that were not taken.";
    DRAINING = Gauge "slr_hostd_draining" [] "1 while the host is drained.";
    FLOWS = Gauge "slr_hostd_flows" [] "Flows that the host has. Drained, it may be stopped at 0.";
    STALLS = Counter "slr_hostd_stalls_total" ["outcome"] "Flows whose client fell silent while it owed something or was expected to go on: stalled; of these owed; recovered (after an echo was answered), by_themselves (before that), given_up, refused (too many at once).";
    ECHOES = Counter "slr_hostd_echoes_total" ["outcome"] "Echo requests that ask clients to carry flows' state to a router: asked, with so many flows; answered; unexpected answers; limited (waited for their rate); without_key, unsendable; forged answers.";
    WATCHED = Gauge "slr_hostd_watched_flows" [] "Flows that speak, and are watched for stalls.";
    SWEEP_BUSY = Counter "slr_hostd_sweep_busy_seconds_total" [] "Time that looking for stalls took.";
    KEY_EPOCH = Gauge "slr_hostd_key_epoch" [] "Epoch of the newest keys for echoes that a router has granted; 0 if none has.";
    RELOADS = Counter "slr_hostd_config_reloads_total" ["result"] "Reloads: applied, refused.";
    CONFIG_GOOD = Gauge "slr_hostd_config_last_good" [] "1 if the last configuration given was put in force, 0 if it was refused and the one before stays.";
    CONFIG_SINCE = Gauge "slr_hostd_config_in_force_timestamp_seconds" [] "When the configuration in force was put in force.";
    TURNS = Counter "slr_hostd_loop_turns_total" [] "Turns of the control loop.";
    TURN_BUSY = Counter "slr_hostd_loop_busy_seconds_total" [] "Time that they took, without waiting: the loop's share of a core.";
    TURN_LONGEST = Gauge "slr_hostd_loop_turn_longest_seconds" [] "The longest turn since the snapshot before.";
    CERTIFICATE_END = Gauge "slr_hostd_certificate_end_timestamp_seconds" ["certificate"] "When it ends: own, ca, crl (the revocation list).";
}
