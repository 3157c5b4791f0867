//! Why two nodes do not talk, for people: what is wrong, and what to do about it.
//!
//! The end that refuses knows why. The other one learns it from QUIC's close: a TLS alert as a number, and the refusing
//! end's words. The words are shown, but only as a quotation: whoever sent them may not be who they say.

use std::fmt;

use slr_model::{Identity, NodeName, Role};
use slr_wire::Code;

use crate::certificate::CertificateError;

/// What is wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}; {}", self.why, self.remedy)
    }
}

/// Whose certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The other end's, by us.
    Theirs,
    /// Ours, by the other end.
    Ours,
}

impl Refusal {
    /// Stands before the words of a rule, so that they are found again behind those of TLS.
    pub(crate) const MARK: &'static str = "slr: ";
    /// Most of another node's words that are quoted, in characters: two lines on a screen.
    const QUOTED_MAX: usize = 240;

    pub(crate) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }

    pub(crate) fn trust_domain(own: &Identity, other: &Identity) -> Self {
        Self::new(
            format!("{other} is of another trust domain than {}", own.trust_domain),
            "issue it a certificate with the slr-ca of this trust domain",
        )
    }

    pub(crate) fn not_dialled(role: Role, name: &NodeName, other: &Identity) -> Self {
        Self::new(
            format!("the certificate is for {} {}, and {role} {name} was dialled", other.role, other.name),
            "correct the name or the address in the configuration of the one who dials, or the certificate",
        )
    }

    pub(crate) fn not_a_peer(own: &Identity, other: &Identity) -> Self {
        Self::new(
            format!("{} {} is not in the cluster of {}", other.role, other.name, own.name),
            format!(
                "name {} among the peers of {} and reload it, or correct the certificate's name",
                other.name, own.name
            ),
        )
    }

    pub(crate) fn role(own: &Identity, children: Option<Role>, other: &Identity) -> Self {
        let expected = match children {
            Some(children) => format!("{children} or {}", own.role),
            None => own.role.to_string(),
        };
        Self::new(
            format!(
                "{} is of role {}, and {} {} takes connections from {expected}",
                other.name, other.role, own.role, own.name
            ),
            "connect it to a node of the tier above its own, or issue its certificate with the right --role",
        )
    }

    pub(crate) fn not_a_reader(other: &Identity) -> Self {
        Self::new(
            format!("{other} is no router, and routers alone may read this"),
            "ask from a router of the trust domain, or on this machine by the admin socket",
        )
    }

    pub(crate) fn unreadable(error: &CertificateError) -> Self {
        Self::new(format!("the certificate does not say who the node is: {error}"), "issue it with slr-ca")
    }

    pub(crate) fn revoked(identity: &Identity) -> Self {
        Self::new(
            format!("the certificate of {} {} is revoked", identity.role, identity.name),
            format!("if {} is to come back, issue it a new one with slr-ca issue", identity.name),
        )
    }

    pub(crate) fn expired(identity: &Identity) -> Self {
        Self::new(
            format!("the certificate of {} {} has expired", identity.role, identity.name),
            format!("renew it with slr-ca renew {}", identity.name),
        )
    }

    /// Explains a TLS alert: by whom, and in which words, `text` says.
    pub(crate) fn from_alert(alert: u8, whose: Whose, text: &str) -> Self {
        let text = quotable(text);
        if let Some((_, words)) = text.split_once(Self::MARK) {
            // The words come wrapped in the names of rustls's types.
            let words = words.trim_end_matches(')');
            let (why, remedy) = words.split_once("; ").unwrap_or((words, "see the other node's log"));
            return match whose {
                Whose::Theirs => Self::new(why, remedy),
                Whose::Ours => Self::new(format!("the other node refuses us: {why}"), remedy),
            };
        }
        let (subject, renew) = match whose {
            Whose::Theirs => ("the other node's certificate", "have it renewed"),
            Whose::Ours => ("the other node says that our certificate", "renew ours"),
        };
        let (predicate, remedy) = match alert {
            44 => ("is revoked", "if the node is to come back, issue it a new one with slr-ca issue".to_owned()),
            45 => ("has expired or is not valid yet", format!("{renew} with slr-ca renew, and check both clocks")),
            48 if text.contains("evocation") => (
                "cannot be checked against the revocation list",
                "sign the list again with slr-ca sign-crl and copy it to the node that refuses".to_owned(),
            ),
            48 | 51 => (
                "is another trust domain's: its authority is not known",
                "use certificates of one slr-ca on both, or copy its ca.pem to the node that refuses".to_owned(),
            ),
            43 => ("is not for this use", "issue it with slr-ca".to_owned()),
            116 => ("is missing", "configure a certificate of slr-ca issue".to_owned()),
            42 | 46 => ("is not one of slr-ca", "issue it with slr-ca".to_owned()),
            49 => ("has no access", "see the other node's log".to_owned()),
            120 | 70 => {
                let why = format!("the two nodes speak different versions of the protocol ({text})");
                return Self::new(why, "upgrade the older one");
            }
            _ => ("is refused", "see the other node's log".to_owned()),
        };
        Self::new(format!("{subject} {predicate} ({text})"), remedy)
    }
}

/// The code that fits a TLS alert, for those who decide when to try again.
pub(crate) fn code_of_alert(alert: u8) -> Code {
    match alert {
        44 => Code::Revoked,
        45 => Code::Expired,
        42..=51 | 116 => Code::Role,
        _ => Code::Violation,
    }
}

/// Text from outside, on one line and not long.
pub(crate) fn quotable(text: &str) -> String {
    text.chars().take(Refusal::QUOTED_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_rule_reach_both_ends() {
        let refusal = Refusal::new("h1 is a host", "issue it with the right --role");
        let tls = format!("invalid peer certificate: Other(OtherError({}{refusal}))", Refusal::MARK);
        assert_eq!(Refusal::from_alert(46, Whose::Theirs, &tls), refusal);
        let ours = Refusal::from_alert(46, Whose::Ours, &tls);
        assert_eq!(ours.to_string(), "the other node refuses us: h1 is a host; issue it with the right --role");
    }

    #[test]
    fn every_alert_has_an_explanation_and_a_remedy() {
        for alert in 0..=u8::MAX {
            for whose in [Whose::Theirs, Whose::Ours] {
                let refusal = Refusal::from_alert(alert, whose, "certificate unknown");
                assert!(!refusal.why.is_empty() && !refusal.remedy.is_empty(), "{alert}");
            }
        }
        let expired = Refusal::from_alert(45, Whose::Ours, "certificate expired");
        assert!(expired.why.contains("our certificate has expired"), "{expired}");
        assert!(expired.remedy.contains("slr-ca renew"), "{expired}");
    }

    #[test]
    fn foreign_words_stay_on_one_line() {
        let refusal = Refusal::from_alert(46, Whose::Ours, &format!("\u{1b}[2J\n{}", "x".repeat(10_000)));
        assert!(!refusal.to_string().chars().any(char::is_control));
        assert!(refusal.to_string().len() < 600);
    }
}
