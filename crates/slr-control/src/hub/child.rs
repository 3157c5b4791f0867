//! The task of one child's connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use slr_session::conversation::{Counters, Parent, ParentEvent, ParentPhase};
use slr_session::registry::ConnectionId;
use slr_wire::{Action, Code, FlowKeys, Refused, Roster, Welcome};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info};

use super::{COMMANDS_MAX, Child, ConnectionView, HubEvent, Shared};
use crate::line::Line;
use crate::run::Run;

/// What the router's loop asks of a connection.
pub(super) enum ChildCommand {
    Welcome(Welcome),
    Refuse(Refused),
    Order { action: Action, requested_by: String, answer: oneshot::Sender<Result<(), String>> },
    Ask,
    Roster(Arc<Roster>),
    Grant(FlowKeys),
    Epoch(u32),
}

/// Starts the task of a connection that was just opened.
pub(super) fn accept(shared: &Arc<Shared>, line: Line) {
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let view = {
        let mut state = shared.lock();
        state.last_id += 1;
        let view = ConnectionView {
            id: ConnectionId(state.last_id),
            certificate: line.certificate().clone(),
            remote: line.connection().remote_address(),
            since: Instant::now(),
        };
        state.children.insert(view.id, Child { commands, view: view.clone() });
        view
    };
    let identity = &view.certificate.identity;
    debug!(name = %identity.name, role = %identity.role, remote = %view.remote, id = view.id.0, "child connected");
    let parent = Parent::new(identity.role, Instant::now());
    let task = Task {
        run: Run::accepted(parent, line),
        answers: BTreeMap::new(),
        counted: Counters::default(),
        shared: shared.clone(),
        view,
    };
    tokio::spawn(task.run(receiver));
}

struct Task {
    run: Run<Parent>,
    /// Who waits for the answers to orders. As many as the conversation has orders.
    answers: BTreeMap<u64, oneshot::Sender<Result<(), String>>>,
    counted: Counters,
    shared: Arc<Shared>,
    view: ConnectionView,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<ChildCommand>) {
        let mut events = Vec::new();
        while self.run.conversation.phase() != ParentPhase::Ended {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                () = self.run.step() => {}
            }
            self.run.settle(&mut events);
            self.shared.count(&mut self.counted, self.run.conversation.counters());
            for event in events.drain(..) {
                Self::tell(&self.shared, &self.view, &mut self.answers, self.run.last_ending(), event).await;
            }
        }
        self.run.closed().await;
    }

    fn command(&mut self, command: ChildCommand) {
        let (parent, now) = (&mut self.run.conversation, Instant::now());
        match command {
            ChildCommand::Welcome(welcome) => parent.welcome(now, welcome),
            ChildCommand::Refuse(refused) => parent.refuse(refused),
            ChildCommand::Order { action, requested_by, answer } => match parent.order(now, action, &requested_by) {
                Ok(id) => drop(self.answers.insert(id, answer)),
                Err(error) => drop(answer.send(Err(error.to_string()))),
            },
            ChildCommand::Ask => parent.ask(),
            ChildCommand::Grant(keys) => parent.grant(keys),
            ChildCommand::Epoch(epoch) => parent.tell_epoch(epoch),
            ChildCommand::Roster(roster) => {
                if let Err(error) = parent.set_roster(now, &roster) {
                    tracing::warn!(name = %self.view.certificate.identity.name, "the roster was not sent: {error}");
                }
            }
        }
    }

    async fn tell(
        shared: &Shared,
        view: &ConnectionView,
        answers: &mut BTreeMap<u64, oneshot::Sender<Result<(), String>>>,
        ending: Option<&crate::Ending>,
        event: ParentEvent,
    ) {
        let identity = &view.certificate.identity;
        match &event {
            ParentEvent::Ordered { id, outcome } => {
                if let Some(answer) = answers.remove(id) {
                    // Whoever asked may have gone.
                    let _ = answer.send(outcome.clone());
                }
                return;
            }
            ParentEvent::Ended { code, why } => {
                info!(name = %identity.name, role = %identity.role, remote = %view.remote, "child gone: {why}");
                shared.lock().children.remove(&view.id);
                // By our own decision, not because the child said so.
                let distrusted = ending.is_some_and(|ending| ending.refused && ending.code == *code);
                if let (Some(code @ (Code::Revoked | Code::Expired | Code::Removed)), true) = (*code, distrusted) {
                    let (name, id) = (identity.name.clone(), Some(view.id));
                    shared.tell(HubEvent::Distrusted { name, id, code, why: why.clone() }).await;
                }
            }
            ParentEvent::Hello(hello) => {
                info!(name = %identity.name, role = %identity.role, remote = %view.remote, software = hello.software, "hello");
            }
            ParentEvent::Advert(_)
            | ParentEvent::Claimed { .. }
            | ParentEvent::Epoch(_)
            | ParentEvent::Withdrawn { .. } => {}
        }
        let identity = identity.clone();
        shared.tell(HubEvent::Child { id: view.id, identity, remote: view.remote, event }).await;
    }
}
