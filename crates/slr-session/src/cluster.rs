//! One answer from all SLRs of a cluster: who computes the rings' weights, and how the others come by them. Pure.
//!
//! The lowest-named member that is heard publishes; each other member follows the lowest-named one that *it* hears, and
//! passes on what it holds to those that follow it, so that a cluster whose members do not all hear each other still
//! agrees as far as it can. Weights travel by name; Maglev is deterministic, so equal weights are equal rings.
//!
//! - Members beat ([`RingsAck`]): what they hold, whom they follow. A member whose beats are missing for
//!   [`ClusterSettings::silent_after`] is not heard. If that was the publisher, the next one goes on *from the weights
//!   that were published last*.
//! - A publication is an [`Edition`]; it travels as a difference to what the follower holds, or whole if it holds
//!   something else. A follower to whom a difference does not fit asks for everything.
//! - Who has only just started, or has fallen behind, is *joining*: it takes over what the others hold before it
//!   publishes anything. So handing back moves nothing either.
//!
//! # Driving it
//!
//! One [`Cluster`] for a router. [`crate::conversation::Peer`]'s `Met`, `Message` and `Lost` go into
//! [`Cluster::peer_met`], [`Cluster::handle_message`] and [`Cluster::peer_lost`]; [`ClusterOutput::Send`] goes out through
//! `Peer::send`. After every call take the outputs until there is none, sleep until `poll_timeout`, call
//! `handle_timeout`. Each time that the policy is due:
//!
//! - [`ClusterRole::Publishes`]: evaluate, starting from [`Cluster::rings`] if the role is new, then [`Cluster::publish`];
//! - otherwise place by [`Cluster::rings`] as they are, and evaluate nothing. [`ClusterEvent::Adopted`] says when they
//!   have changed.
//!
//! A cluster of one publishes from the start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use slr_model::NodeName;
use slr_wire::{Edition, Message, RingKey, RingWeights, Rings, RingsAck, RingsError, RingsPart, bounds};

mod lineage;
mod member;
mod snapshot;

pub use member::MemberView;
pub use snapshot::{ClusterSnapshot, RingSnapshot};

use lineage::Lineage;
use member::Member;

/// Whole publications go to one follower at most this often: the answer to one that asks again and again.
const WHOLE_SPACING: Duration = Duration::from_millis(500);
/// So long after a publication was sent, a follower that holds another one has not understood it.
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// Publications that a publisher may be behind a peer before it takes over what the peer has. One or two arise while
/// the publisher changes.
const BEHIND_MAX: u64 = 2;
/// It does so at most this often: a peer that it hears, and that does not hear it, has nothing to teach it.
const REJOIN_SPACING: Duration = Duration::from_secs(30);
/// Events kept for a reader that does not come; everything they tell is in the views.
const EVENTS_MAX: usize = 1_024;

/// Who a member is, and its timing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its own name.
    pub name: NodeName,
    /// The start of its process, never 0.
    pub incarnation: u64,
    /// The other members that are configured.
    pub peers: BTreeSet<NodeName>,
    /// How often it beats.
    pub beat_interval: Duration,
    /// A member whose beats are missing for this long is not heard.
    pub silent_after: Duration,
    /// A member that has started publishes after this long, even if it has heard nobody.
    pub join_within: Duration,
}

impl ClusterSettings {
    /// The shipped timing.
    pub fn new(name: NodeName, incarnation: u64, peers: BTreeSet<NodeName>) -> Self {
        Self {
            name,
            incarnation,
            peers,
            beat_interval: Duration::from_millis(200),
            silent_after: Duration::from_millis(700),
            join_within: Duration::from_secs(3),
        }
    }
}

/// What a member does about the rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRole {
    /// It has started, or fell behind, and learns what the others hold.
    Joins,
    /// It computes the weights, for itself and for those that follow it.
    Publishes,
    /// It takes the weights of that member.
    Follows(NodeName),
}

/// What a driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterOutput {
    /// Hand the message to the conversation with that peer.
    Send {
        /// Which.
        peer: NodeName,
        /// What.
        message: Message,
    },
    /// Tell whoever uses the cluster.
    Event(ClusterEvent),
}

/// What a cluster has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterEvent {
    /// The member's role is another one now.
    Role(ClusterRole),
    /// The rings are those of another publication.
    Adopted {
        /// Which.
        edition: Edition,
        /// Rings whose weights are new or others.
        changed: BTreeSet<RingKey>,
        /// Rings that are no more.
        removed: BTreeSet<RingKey>,
    },
    /// A peer does not keep to the format: refuse it.
    Violation {
        /// Which.
        peer: NodeName,
        /// What it did.
        why: String,
    },
}

/// A member of a cluster; see the module documentation for how it is driven.
#[derive(Clone, Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    role: ClusterRole,
    members: BTreeMap<NodeName, Member>,
    lineage: Lineage,
    /// Until when it joins; `None`: it has.
    join_until: Option<Instant>,
    /// When it may next join again because it is behind.
    rejoin_at: Option<Instant>,
    /// What came last did not fit.
    resync: bool,
    beat_at: Instant,
    ran_at: Instant,
    outputs: VecDeque<ClusterOutput>,
}

impl Cluster {
    /// A member that starts, perhaps with what its predecessor held.
    pub fn new(settings: ClusterSettings, adopted: Option<ClusterSnapshot>, now: Instant) -> Self {
        let join_until = Some(now + settings.join_within);
        let lineage = adopted.map_or_else(Lineage::default, ClusterSnapshot::into_lineage);
        let mut cluster = Self {
            settings,
            role: ClusterRole::Joins,
            members: BTreeMap::new(),
            lineage,
            join_until,
            rejoin_at: None,
            resync: false,
            beat_at: now,
            ran_at: now,
            outputs: VecDeque::new(),
        };
        cluster.decide(now);
        cluster
    }

    /// Other peers are configured. Those that are no more should be refused as well.
    pub fn configure(&mut self, now: Instant, peers: BTreeSet<NodeName>) {
        self.members.retain(|name, _| peers.contains(name));
        self.settings.peers = peers;
        self.decide(now);
    }

    /// A conversation with a peer is open. `false`: it is not configured as one; refuse it.
    pub fn peer_met(&mut self, now: Instant, peer: &NodeName) -> bool {
        let known = self.settings.peers.contains(peer);
        if known {
            self.members.insert(peer.clone(), Member::new());
            self.beat_to(peer.clone());
            self.decide(now);
        }
        known
    }

    /// The conversation with a peer is over. Not to be told of one that a newer one with the same peer has replaced.
    pub fn peer_lost(&mut self, now: Instant, peer: &NodeName) {
        self.members.remove(peer);
        self.decide(now);
    }

    /// A message from a peer.
    pub fn handle_message(&mut self, now: Instant, peer: &NodeName, message: Message) {
        match message {
            Message::RingsAck(beat) => self.beat_came(now, peer, beat),
            Message::Rings(part) => self.part_came(now, peer, part),
            // A conversation between peers passes nothing else on.
            _ => {}
        }
    }

    /// Publishes weights: all rings there are. `false`: they are what is published already. While another member
    /// publishes nothing happens: a role can change between evaluation and publication.
    pub fn publish(&mut self, now: Instant, rings: BTreeMap<RingKey, RingWeights>) -> Result<bool, RingsError> {
        let weights = rings.values().map(BTreeMap::len).sum();
        if rings.len() > bounds::RINGS_MAX || weights > bounds::RING_WEIGHTS_MAX {
            return Err(RingsError::TooMany { rings: rings.len(), weights });
        }
        let own = self.lineage.held().is_some_and(|held| self.is_own(held));
        if self.role != ClusterRole::Publishes || (own && *self.lineage.rings() == rings) {
            return Ok(false);
        }
        let edition = self.next_edition();
        self.lineage.replace(edition, rings);
        self.tell_followers(now);
        Ok(true)
    }

    /// What is due is done.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now.saturating_duration_since(self.ran_at) >= self.settings.silent_after {
            // It was this member that slept: the others' beats wait in a queue, and are not missing.
            self.members.values_mut().for_each(|member| member.forgive(now));
        }
        self.ran_at = self.ran_at.max(now);
        self.decide(now);
        if self.beat_at <= now {
            self.beat(now);
        }
    }

    /// When [`Cluster::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Instant {
        let silent = self.members.values().filter_map(|member| member.silent_at(self.settings.silent_after));
        silent.chain(self.join_until).chain([self.beat_at]).min().expect("there is a beat")
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<ClusterOutput> {
        self.outputs.pop_front()
    }

    /// What the member does about the rings.
    pub fn role(&self) -> &ClusterRole {
        &self.role
    }

    /// The weights in force, by ring: what is published, or was last heard.
    pub fn rings(&self) -> &BTreeMap<RingKey, RingWeights> {
        self.lineage.rings()
    }

    /// Which publication they are; `None`: nothing was published yet.
    pub fn edition(&self) -> Option<&Edition> {
        self.lineage.held()
    }

    /// The other members, as they are known.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.settings.peers.iter().map(|name| MemberView::new(name, self.members.get(name)))
    }

    /// What a successor of this process adopts.
    pub fn snapshot(&self) -> Option<ClusterSnapshot> {
        ClusterSnapshot::of(&self.lineage)
    }

    fn is_own(&self, edition: &Edition) -> bool {
        edition.publisher == self.settings.name && edition.incarnation == self.settings.incarnation
    }

    /// Counts on from whatever anybody is known to hold.
    fn next_edition(&self) -> Edition {
        let heard = self.members.values().filter_map(|member| member.held()).map(|held| held.generation).max();
        let held = self.lineage.held().map(|held| held.generation);
        Edition {
            publisher: self.settings.name.clone(),
            incarnation: self.settings.incarnation,
            // Nobody counts to the end; a peer that claims to have been there could publish anything anyhow.
            generation: held.max(heard).unwrap_or(0).saturating_add(1),
        }
    }

    /// Looks who publishes now.
    fn decide(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.look(now, self.settings.silent_after);
        }
        if self.join_until.is_some() && self.has_joined(now) {
            self.join_until = None;
        }
        let candidate = self.members.iter().find(|(_, member)| member.may_publish()).map(|(name, _)| name.clone());
        let role = match (self.join_until, candidate) {
            (Some(_), _) => ClusterRole::Joins,
            (None, Some(name)) if name < self.settings.name => ClusterRole::Follows(name),
            (None, _) => ClusterRole::Publishes,
        };
        if role != self.role {
            self.role = role;
            self.resync = false;
            self.event(ClusterEvent::Role(self.role.clone()));
            self.beat(now);
        }
    }

    /// Whom the member takes rings from.
    fn source(&self) -> Option<&NodeName> {
        match &self.role {
            ClusterRole::Publishes => None,
            ClusterRole::Follows(name) => Some(name),
            ClusterRole::Joins => self.members.iter().find(|(_, member)| member.may_publish()).map(|(name, _)| name),
        }
    }

    /// Whether there is nothing left to learn before publishing.
    fn has_joined(&self, now: Instant) -> bool {
        let source = self.members.values().find(|member| member.may_publish());
        match source {
            Some(source) if source.held() == self.lineage.held() || source.held().is_none() => true,
            _ if self.join_until.is_some_and(|until| until <= now) => true,
            Some(_) => false,
            // All have just started: the lowest-named one begins.
            None => {
                let all = self.settings.peers.iter().all(|peer| self.members.get(peer).is_some_and(Member::is_heard));
                all && self.settings.peers.iter().all(|peer| *peer > self.settings.name)
            }
        }
    }

    fn beat_came(&mut self, now: Instant, peer: &NodeName, beat: RingsAck) {
        let Some(member) = self.members.get_mut(peer) else {
            return;
        };
        let ahead = beat.held.as_ref().map_or(0, |held| held.generation);
        member.beat(now, beat);
        self.decide(now);
        let mine = self.lineage.held().map_or(0, |held| held.generation);
        let others = self.members.get(peer).is_some_and(|member| !member.follows(&self.settings.name));
        let is_behind = self.role == ClusterRole::Publishes && others && ahead > mine.saturating_add(BEHIND_MAX);
        if is_behind && self.rejoin_at.is_none_or(|at| at <= now) {
            self.rejoin_at = Some(now + REJOIN_SPACING);
            self.join_until = Some(now + self.settings.join_within);
            self.decide(now);
        }
        self.serve(now, peer);
    }

    /// Sends a follower what it lacks.
    fn serve(&mut self, now: Instant, peer: &NodeName) {
        let Some(member) = self.members.get(peer).filter(|member| member.follows(&self.settings.name)) else {
            return;
        };
        let Some(held) = self.lineage.held() else {
            return;
        };
        if self.role == ClusterRole::Joins || member.knows(held, now, RESEND_AFTER) {
            return;
        }
        let foreign = member
            .held()
            .is_some_and(|theirs| theirs.generation >= held.generation && self.lineage.changed_since(theirs).is_none());
        if self.role == ClusterRole::Publishes && foreign {
            // It published beside this member for a while. One count for both, so that none ever goes back.
            let edition = self.next_edition();
            self.lineage.replace(edition, self.lineage.rings().clone());
            return self.tell_followers(now);
        }
        self.send(now, peer.clone());
    }

    fn tell_followers(&mut self, now: Instant) {
        let follows = |(name, member): (&NodeName, &Member)| member.follows(&self.settings.name).then(|| name.clone());
        let followers: Vec<NodeName> = self.members.iter().filter_map(follows).collect();
        for peer in followers {
            self.send(now, peer);
        }
        self.beat(now);
    }

    /// Sends what is held, as a difference to what the follower has or will have.
    fn send(&mut self, now: Instant, peer: NodeName) {
        let (Some(edition), Some(member)) = (self.lineage.held().cloned(), self.members.get_mut(&peer)) else {
            return;
        };
        let base = member.base(now, RESEND_AFTER);
        let since = base.as_ref().and_then(|base| self.lineage.changed_since(base));
        let message = match (base, since) {
            (Some(base), Some(changed)) => {
                let (kept, removed): (BTreeSet<_>, BTreeSet<_>) =
                    changed.into_iter().partition(|key| self.lineage.rings().contains_key(key));
                let rings = kept.into_iter().map(|key| (key.clone(), self.lineage.rings()[&key].clone())).collect();
                Rings { edition: edition.clone(), base: Some(base), rings, removed }
            }
            _ if !member.may_have_all(now, WHOLE_SPACING) => return,
            _ => {
                let rings = self.lineage.rings().clone();
                Rings { edition: edition.clone(), base: None, rings, removed: BTreeSet::new() }
            }
        };
        member.sent(now, edition, message.base.is_none());
        let parts = message.split().expect("bounds were checked when it was published or came");
        for part in parts {
            self.outputs.push_back(ClusterOutput::Send { peer: peer.clone(), message: Message::Rings(part) });
        }
    }

    fn part_came(&mut self, now: Instant, peer: &NodeName, part: RingsPart) {
        let is_source = self.source() == Some(peer);
        let Some(member) = self.members.get_mut(peer) else {
            return;
        };
        let whole = match member.join(part) {
            Ok(Some(whole)) => whole,
            Ok(None) => return,
            Err(error) => {
                let why = format!("rings: {error}");
                return self.event(ClusterEvent::Violation { peer: peer.clone(), why });
            }
        };
        if !is_source || self.lineage.held() == Some(&whole.edition) {
            return;
        }
        let edition = whole.edition.clone();
        match self.lineage.apply(whole) {
            Some((changed, removed)) => {
                self.resync = false;
                self.event(ClusterEvent::Adopted { edition, changed, removed });
                self.decide(now);
                self.tell_followers(now);
            }
            None => {
                self.resync = true;
                self.beat(now);
            }
        }
    }

    fn beat(&mut self, now: Instant) {
        self.beat_at = now + self.settings.beat_interval;
        let peers: Vec<NodeName> = self.members.keys().cloned().collect();
        for peer in peers {
            self.beat_to(peer);
        }
    }

    fn beat_to(&mut self, peer: NodeName) {
        let message = Message::RingsAck(RingsAck {
            held: self.lineage.held().cloned(),
            follows: self.source().cloned(),
            joining: self.join_until.is_some(),
            resync: self.resync,
        });
        self.outputs.push_back(ClusterOutput::Send { peer, message });
    }

    fn event(&mut self, event: ClusterEvent) {
        if self.outputs.len() < EVENTS_MAX {
            self.outputs.push_back(ClusterOutput::Event(event));
        }
    }
}
