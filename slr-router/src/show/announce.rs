//! `show announce`.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slr_daemon::table::Table;

use super::control_tables::age;
use super::tables::or_sentence;
use crate::announce::Level;

/// The answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Announced {
    /// `announcing`, `lowered` or `withdrawn`: what the operator wants.
    pub state: String,
    /// The kernel's table and the protocol number there.
    pub table: u32,
    pub protocol: u8,
    /// Why the table is not as it should be.
    pub problem: Option<String>,
    /// Every subnet.
    pub subnets: Vec<Subnet>,
}

/// A virtual subnet.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    #[schemars(with = "String")]
    pub prefix: IpNet,
    /// What is wanted.
    pub level: Level,
    /// What the table says.
    pub announced: Level,
    pub for_s: f64,
    pub reason: String,
}

/// For people.
pub fn table(answer: &Announced) -> String {
    let mut table = Table::new(["subnet", "level", "announced", "for", "reason"]);
    for row in &answer.subnets {
        table.row([
            row.prefix.to_string(),
            row.level.as_str().to_owned(),
            row.announced.as_str().to_owned(),
            age(row.for_s),
            row.reason.clone(),
        ]);
    }
    let subnets = or_sentence(&table, "No virtual subnet is configured.");
    let problem = answer.problem.as_ref().map(|problem| format!("\nproblem: {problem}")).unwrap_or_default();
    let Announced { state, table, protocol, .. } = answer;
    format!("{state}: table {table}, protocol {protocol}{problem}\n{subnets}")
}
