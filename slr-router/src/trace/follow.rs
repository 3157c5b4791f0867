//! From router to host: whoever a node says the flow goes to is asked in turn, over HTTPS with this router's certificates.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use slr_control::Trust;
use slr_daemon::api::{self, DEFAULT_PORT, PREFIX};
use slr_model::{FlowKey, HostTrace, NodeName, Role};

use super::{Next, Trace, text};
use crate::config::Settings;
use crate::control::trust_files;

/// Nodes that are asked at most: three tiers, with all hosts of a slot's memory.
const NODES_MAX: usize = 16;

/// A flow's way, as far as it can be followed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Followed {
    #[serde(flatten)]
    pub trace: Trace,
    /// Whoever was asked further on, in the order of the packets' way.
    pub asked: Vec<Asked>,
}

/// A node that was asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    pub name: NodeName,
    pub role: Role,
    pub address: IpAddr,
    /// Who named it.
    pub by: NodeName,
    /// What it says.
    pub answer: Option<Answer>,
    /// Why it says nothing.
    pub problem: Option<String>,
}

/// What a node says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Router(Box<Trace>),
    Host(HostTrace),
}

/// Asks everybody on the way that begins with this trace.
pub fn follow(trace: &Trace, config: &Path) -> Vec<Asked> {
    let trust = trust(config);
    let named = |trace: &Trace| trace.next.iter().map(|next| (trace.router.clone(), next.clone())).collect::<Vec<_>>();
    let mut waiting: VecDeque<(NodeName, Next)> = named(trace).into();
    let mut known: BTreeSet<NodeName> = [trace.router.clone()].into();
    let mut asked = Vec::new();
    while let Some((by, next)) = waiting.pop_front() {
        if asked.len() == NODES_MAX || !known.insert(next.name.clone()) {
            continue;
        }
        let answer = match &trust {
            Ok(trust) => ask(trust, &next, &trace.flow),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        // Of a chain all are asked: it is not known who will have the flow. What a router names comes before the chain's rest.
        if let Ok(Answer::Router(further)) = &answer {
            named(further).into_iter().rev().for_each(|next| waiting.push_front(next));
        }
        let (answer, problem) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        asked.push(Asked { name: next.name, role: next.role, address: next.address, by, answer, problem });
    }
    asked
}

fn trust(config: &Path) -> Result<Arc<Trust>> {
    let settings = Settings::load(config).context("other nodes are asked with this router's certificates")?;
    let control =
        settings.control.context("the configuration has no [control], whose certificates other nodes ask for")?;
    Ok(Trust::load(trust_files(&control))?)
}

fn ask(trust: &Trust, next: &Next, flow: &FlowKey) -> Result<Answer> {
    let tls = trust.current().https_client(next.role, next.name.clone());
    let address = SocketAddr::new(next.address, DEFAULT_PORT);
    let (client, virtual_host, protocol) = (flow.client(), flow.virtual_host(), flow.protocol());
    let path = format!("{PREFIX}trace?client={client}&virtual_host={virtual_host}&protocol={protocol}");
    Ok(match next.role {
        Role::Host => Answer::Host(api::ask(address, tls, &path)?),
        _ => Answer::Router(Box::new(api::ask(address, tls, &path)?)),
    })
}

/// For people: the router's own answer, then everybody's.
impl fmt::Display for Followed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&text::text(&self.trace))?;
        for asked in &self.asked {
            let Asked { name, role, address, by, answer, problem } = asked;
            write!(f, "\n\n{role} {name} at {address}, where {by} sends it\n")?;
            match (answer, problem) {
                (Some(Answer::Router(trace)), _) => f.write_str(&text::text(trace))?,
                (Some(Answer::Host(trace)), _) => write!(f, "{trace}")?,
                (None, problem) => write!(f, "{:<14}{}", "no answer", problem.as_deref().unwrap_or_default())?,
            }
        }
        Ok(())
    }
}
