//! How many flows each rung saved: the site's own counters, before and after.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{command::Shell, result::Saved, scenario::Counters};

/// What the counters said at one time; an error in words where they said nothing.
pub type Reading = Result<BTreeMap<String, u64>, String>;

/// Asks once.
pub async fn read(shell: &Shell, counters: Option<&Counters>) -> Reading {
    let counters = counters.ok_or("the scenario names no counters")?;
    let outcome = shell.run("counters", &counters.command).await.map_err(|error| format!("{error:#}"))?;
    pick(&outcome.stdout, counters).map_err(|error| format!("{error:#}"))
}

fn pick(text: &str, counters: &Counters) -> Result<BTreeMap<String, u64>> {
    let value: Value = serde_json::from_str(text).context("counters are not JSON")?;
    if counters.fields.is_empty() {
        let object = value.as_object().context("counters are not a JSON object")?;
        return Ok(object.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect());
    }
    let number = |(name, pointer): (&String, &String)| {
        let found = value.pointer(pointer).and_then(Value::as_u64);
        found.map(|number| (name.clone(), number)).with_context(|| format!("no number at {pointer} ({name})"))
    };
    counters.fields.iter().map(number).collect()
}

/// The difference. A counter that began anew with its daemon counts from zero.
pub fn between(before: Reading, after: Reading) -> Saved {
    match (before, after) {
        (Ok(before), Ok(after)) => {
            let since =
                |name: &str, after: u64| after.checked_sub(before.get(name).copied().unwrap_or(0)).unwrap_or(after);
            let flows = after.iter().map(|(name, &after)| (name.clone(), since(name, after))).collect();
            Saved { flows, not_told: None }
        }
        (Err(why), _) | (_, Err(why)) => Saved { flows: BTreeMap::new(), not_told: Some(why) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_by_name() {
        let fields = [("mirror", "/rungs/mirror/flows"), ("chain", "/rungs/chain")];
        let fields = fields.map(|(name, pointer)| (name.to_owned(), pointer.to_owned())).into();
        let counters = Counters { command: String::new(), fields };
        let read = |text: &str| pick(text, &counters).map_err(|error| format!("{error:#}"));
        let before = read(r#"{"rungs": {"mirror": {"flows": 5}, "chain": 90}}"#);
        let after = read(r#"{"rungs": {"mirror": {"flows": 105}, "chain": 7}}"#);
        let saved = between(before.clone(), after);
        assert_eq!(saved.flows, [("chain".to_owned(), 7), ("mirror".to_owned(), 100)].into());
        let saved = between(before, read(r#"{"rungs": {}}"#));
        assert!(saved.not_told.expect("a field is missing").contains("/rungs/chain"));
    }
}
