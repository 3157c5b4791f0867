//! Another member, as this one knows it.

use std::time::{Duration, Instant};

use slr_model::NodeName;
use slr_wire::{Edition, Rings, RingsAck, RingsAssembly, RingsError, RingsPart};

#[derive(Clone, Debug)]
pub(super) struct Member {
    beat: Option<(Instant, RingsAck)>,
    heard: bool,
    parts: RingsAssembly,
    /// What was sent to it last; it arrives, in order, if the conversation lasts.
    sent: Option<(Instant, Edition)>,
    all_sent_at: Option<Instant>,
}

impl Member {
    pub fn new() -> Self {
        Self { beat: None, heard: false, parts: RingsAssembly::default(), sent: None, all_sent_at: None }
    }

    pub fn beat(&mut self, now: Instant, beat: RingsAck) {
        self.beat = Some((now, beat));
    }

    /// Its beats are late for a reason that is not its own.
    pub fn forgive(&mut self, now: Instant) {
        if let Some((at, _)) = &mut self.beat {
            *at = now;
        }
    }

    pub fn look(&mut self, now: Instant, silent_after: Duration) {
        self.heard = self.beat.as_ref().is_some_and(|(at, _)| now < *at + silent_after);
    }

    /// When it will not be heard any more, if no beat comes.
    pub fn silent_at(&self, silent_after: Duration) -> Option<Instant> {
        self.beat.as_ref().filter(|_| self.heard).map(|(at, _)| *at + silent_after)
    }

    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// Heard, and past joining.
    pub fn may_publish(&self) -> bool {
        self.heard && self.beat.as_ref().is_some_and(|(_, beat)| !beat.joining)
    }

    pub fn held(&self) -> Option<&Edition> {
        self.beat.as_ref().and_then(|(_, beat)| beat.held.as_ref())
    }

    pub fn follows(&self, name: &NodeName) -> bool {
        self.beat.as_ref().is_some_and(|(_, beat)| beat.follows.as_ref() == Some(name))
    }

    fn asks_for_all(&self) -> bool {
        self.beat.as_ref().is_some_and(|(_, beat)| beat.resync)
    }

    /// Whether it has that edition, or will have: what is on its way shows in no beat yet.
    pub fn knows(&self, edition: &Edition, now: Instant, resend_after: Duration) -> bool {
        let on_its_way = self.sent.as_ref().is_some_and(|(at, sent)| sent == edition && now < *at + resend_after);
        !self.asks_for_all() && (self.held() == Some(edition) || on_its_way)
    }

    /// What the next difference starts from; `None`: there must be no difference. What was sent lately is newer than
    /// what it says; if it still says otherwise after a while, what it says counts.
    pub fn base(&self, now: Instant, resend_after: Duration) -> Option<Edition> {
        if self.asks_for_all() {
            return None;
        }
        let on_its_way = self.sent.as_ref().filter(|(at, _)| now < *at + resend_after).map(|(_, sent)| sent);
        on_its_way.or(self.held()).cloned()
    }

    pub fn may_have_all(&self, now: Instant, spacing: Duration) -> bool {
        self.all_sent_at.is_none_or(|at| now >= at + spacing)
    }

    pub fn sent(&mut self, now: Instant, edition: Edition, all: bool) {
        self.sent = Some((now, edition));
        if all {
            self.all_sent_at = Some(now);
            if let Some((_, beat)) = &mut self.beat {
                beat.resync = false;
            }
        }
    }

    pub fn join(&mut self, part: RingsPart) -> Result<Option<Rings>, RingsError> {
        self.parts.push(part)
    }

    /// What it said last.
    pub fn last_beat(&self) -> Option<(Instant, &RingsAck)> {
        self.beat.as_ref().map(|(at, beat)| (*at, beat))
    }
}

/// A member, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// Whether there is a conversation with it.
    pub connected: bool,
    /// Whether its beats come.
    pub heard: bool,
    /// When the last one came, and what it said.
    pub last_beat: Option<(Instant, &'a RingsAck)>,
}

impl<'a> MemberView<'a> {
    pub(super) fn new(name: &'a NodeName, member: Option<&'a Member>) -> Self {
        Self {
            name,
            connected: member.is_some(),
            heard: member.is_some_and(Member::is_heard),
            last_beat: member.and_then(Member::last_beat),
        }
    }
}
