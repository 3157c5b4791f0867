//! Whom traffic is charged to. The kernel counts by subnet; what a subnet carried before its account changed, or before it
//! went, stays with the account that it had.

use std::collections::BTreeMap;

use super::report::Usage;
use super::tables::Tables;
use super::{Router, hops};
use crate::table::MapError;

/// What accounts were charged with beyond the counters of their present subnets. It lives as long as the daemon; the
/// sums begin anew with it, as counters do.
#[derive(Debug, Default)]
pub struct Accounts {
    closed: BTreeMap<u32, Usage>,
}

impl Accounts {
    /// Settle what a subnet carried with the account that it has, and begin its counters anew.
    pub fn close(&mut self, subnet: u16, tables: &Tables) -> Result<(), MapError> {
        let id = u32::from(subnet);
        let account = tables.subnets.get(&id)?.unwrap_or_default().account;
        let used = Usage::from(hops::total(&tables.subnet_usage.get(id)?));
        tables.subnet_usage.clear(id)?;
        *self.closed.entry(account).or_default() += used;
        Ok(())
    }
}

impl Router {
    /// What was carried for each account, in their order.
    pub fn accounts(&self) -> Result<Vec<(u32, Usage)>, MapError> {
        let mut sums = self.accounts.closed.clone();
        for subnet in self.subnets()? {
            *sums.entry(subnet.account).or_default() += subnet.usage;
        }
        Ok(sums.into_iter().collect())
    }
}
