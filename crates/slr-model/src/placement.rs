//! How costs become shares.

use crate::text::word_enum;

word_enum! {
    /// How the costs of a service's hosts become their shares of new flows.
    #[derive(Default)]
    pub enum PlacementPolicy, "a placement policy" {
        /// Each host's share is in inverse proportion to its cost.
        #[default]
        Weighted = "weighted",
        /// All new flows go to the host of least cost; hosts of equal cost share.
        LeastCost = "least-cost",
    }
}
