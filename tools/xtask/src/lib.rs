//! What `tools/demo` and the acceptance tests stand on: a running site in the namespace lab, with real daemons in front of
//! real servers, and real traffic to look at.

pub mod arrivals;
pub mod browser;
pub mod captures;
pub mod carried;
pub mod drills;
pub mod faults;
pub mod flood;
pub mod forge;
pub mod knocks;
pub mod load;
pub mod openapi;
pub mod paced;
pub mod pair;
pub mod quota;
pub mod raw;
pub mod series;
pub mod servers;
pub mod site;
pub mod states;
pub mod thresholds;
pub mod tiers;
pub mod traffic;
pub mod watch;
