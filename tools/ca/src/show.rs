//! `show`: what was issued, and what one file says. Warnings go to stderr, so that a monthly job mails them.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use slr_ca::moment::human;
use slr_ca::{Authority, Certificate, Entry, Index, Moment, Standing};
use slr_daemon::output::print;
use slr_daemon::table::Table;

/// A list whose next update is nearer than this is worth a warning: a week of working days.
const CRL_WARNING_S: i64 = 7 * 86_400;

/// Everything in an authority's folder.
pub fn folder(dir: &Path, json: bool) -> Result<()> {
    let authority = Authority::open(dir)?;
    let (index, now) = (authority.index(), Moment::now());
    if json {
        let mut value = serde_json::to_value(index)?;
        value["warnings"] = json!(warnings(index, now));
        print(serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    let mut table = Table::new(["name", "role", "serial", "expires", "state", "tunnels", "subnets"]);
    for entry in &index.certificates {
        let mut state = entry.standing(now).to_string();
        if entry.is_due(now) && is_newest(index, entry) {
            state.push_str(", renew it");
        }
        table.row([
            entry.name.to_string(),
            entry.role.to_string(),
            entry.serial.clone(),
            entry.not_after.to_string(),
            state,
            join(&entry.tunnels),
            join(&entry.subnets),
        ]);
    }
    print(format!(
        "trust domain {}, revocation list {} due before {}",
        index.trust_domain, index.crl_number, index.crl_next_update
    ));
    print(if table.is_empty() { "nothing issued yet: slr-ca issue".to_owned() } else { table.to_string() });
    warnings(index, now).iter().for_each(|warning| eprintln!("slr-ca: {warning}"));
    Ok(())
}

/// What one certificate file says.
pub fn file(path: &Path, json: bool) -> Result<()> {
    let certificate = Certificate::read(path)?;
    let left = certificate.not_after.unix() - Moment::now().unix();
    let standing = if left < 0 { Standing::Expired(-left) } else { Standing::Valid(left) };
    let identity = certificate.identity.as_ref();
    if json {
        let value = json!({
            "serial": certificate.serial,
            "issuer": certificate.issuer,
            "trust_domain": identity.map(|identity| &identity.trust_domain),
            "role": identity.map(|identity| identity.role),
            "name": identity.map(|identity| &identity.name),
            "tunnels": identity.map(|identity| &identity.tunnels),
            "subnets": identity.map(|identity| &identity.subnets),
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
        });
        print(serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    let mut table = Table::new(["field", "value"]);
    table.row(["node", &identity.map_or("none: an authority's certificate".to_owned(), ToString::to_string)]);
    table.row(["serial", &certificate.serial]).row(["issuer", &certificate.issuer]);
    table.row(["valid from", &certificate.not_before.to_string()]);
    table.row(["expires", &format!("{} ({standing})", certificate.not_after)]);
    if let Some(identity) = identity {
        table.row(["tunnels", &join(&identity.tunnels)]).row(["subnets", &join(&identity.subnets)]);
    }
    print(table.to_string());
    Ok(())
}

/// What wants doing soon.
fn warnings(index: &Index, now: Moment) -> Vec<String> {
    let mut warnings = Vec::new();
    let crl_left = index.crl_next_update.unix() - now.unix();
    if crl_left < 0 {
        warnings.push(format!(
            "the revocation list was due {} ago: nodes warn, and strict ones refuse; run slr-ca sign-crl and copy it",
            human(crl_left)
        ));
    } else if crl_left < CRL_WARNING_S {
        warnings.push(format!("the revocation list is due in {}: run slr-ca sign-crl and copy it", human(crl_left)));
    }
    for entry in index.certificates.iter().filter(|entry| is_newest(index, entry) && entry.is_due(now)) {
        warnings.push(format!(
            "{} {} ends at {}: run slr-ca renew {}",
            entry.role, entry.name, entry.not_after, entry.name
        ));
    }
    warnings
}

fn is_newest(index: &Index, entry: &Entry) -> bool {
    index.newest(&entry.name).is_some_and(|newest| newest.serial == entry.serial)
}

fn join<T: ToString>(items: &[T]) -> String {
    match items {
        [] => "-".to_owned(),
        items => items.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}
