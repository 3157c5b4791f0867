//! The task that keeps the private table as it is wanted, and looks whether the program is still on its interfaces. It ends
//! with its [`Speaker`]; the routes stay.
//!
//! Nothing is written before the first wish, so the routes of a daemon before us stand until this one has decided; and nothing
//! without the mark, which a watchdog that is just withdrawing may have for a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rtnetlink::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Mark, Routes, Settings, kernel};

/// How often the table and the programs are looked at, though nothing was asked for: somebody may have flushed them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon the mark is tried again: whoever has it has it for a moment.
const MARK_AGAIN: Duration = Duration::from_millis(20);

/// What is to be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The table's content.
    pub routes: Routes,
    /// Where the program should be.
    pub interfaces: Vec<String>,
    /// Whether the operator has drained the router.
    pub is_drained: bool,
}

/// What is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Our part of the table; `None` until it was first read.
    pub routes: Option<Routes>,
    /// Interfaces, and whether they have a program; those that were not looked at are missing.
    pub programs: BTreeMap<String, bool>,
    /// Why the table is not as wanted.
    pub problem: Option<String>,
}

/// The task's handle.
#[derive(Debug)]
pub struct Speaker {
    wanted: watch::Sender<Option<Wanted>>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Speaker {
    /// Starts the task; it reads and writes nothing but looks until it is told what is wanted.
    pub fn start(settings: Settings) -> Result<Self> {
        let handle = kernel::connect()?;
        let (wanted, wishes) = watch::channel(None);
        let (teller, status) = watch::channel(Status::default());
        let task = Task { settings, handle, wishes, teller, mark: None, written: None };
        Ok(Self { wanted, status, task: tokio::spawn(task.run()) })
    }

    /// From now on that is wanted.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|old| {
            let is_new = old.as_ref() != Some(&wanted);
            *old = Some(wanted);
            is_new
        });
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Returns when it is otherwise. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.status.changed().await.is_err() {
            // The task has panicked, which the runtime said; what it last did stands.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    settings: Settings,
    handle: Handle,
    wishes: watch::Receiver<Option<Wanted>>,
    teller: watch::Sender<Status>,
    mark: Option<Mark>,
    /// What the mark's file was last told.
    written: Option<bool>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let wanted = self.wishes.borrow_and_update().clone();
            let wait = match self.work(wanted.as_ref()).await {
                Ok(wait) => wait,
                Err(error) => {
                    let problem = format!("{error:#}");
                    if self.teller.borrow().problem.as_ref() != Some(&problem) {
                        tracing::error!("announcements are not as they should be: {problem}");
                    }
                    self.teller.send_modify(|status| status.problem = Some(problem));
                    LOOK_EVERY
                }
            };
            tokio::select! {
                changed = self.wishes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Looks, writes what differs, and looks again if it wrote.
    async fn work(&mut self, wanted: Option<&Wanted>) -> Result<Duration> {
        let interfaces = wanted.map_or(&[][..], |wanted| &wanted.interfaces);
        let programs = kernel::programs(&self.handle, interfaces).await?;
        let mut found = kernel::list(&self.handle, &self.settings).await?;
        let mut wait = LOOK_EVERY;
        if let Some(wanted) = wanted {
            if self.has_mark(wanted)? {
                let plan = kernel::plan(&found, &wanted.routes);
                if plan != kernel::Plan::default() {
                    let done = kernel::carry_out(&self.handle, &self.settings, &plan).await;
                    found = kernel::list(&self.handle, &self.settings).await?;
                    self.tell(&found, programs.clone());
                    done?;
                }
            } else {
                wait = MARK_AGAIN;
            }
        }
        self.tell(&found, programs);
        Ok(wait)
    }

    fn has_mark(&mut self, wanted: &Wanted) -> Result<bool> {
        if self.mark.is_none() {
            self.mark = Mark::take(&self.settings.mark)?;
        }
        let Some(mark) = &mut self.mark else { return Ok(false) };
        if self.written != Some(wanted.is_drained) {
            mark.set_drained(wanted.is_drained)?;
            self.written = Some(wanted.is_drained);
        }
        Ok(true)
    }

    fn tell(&self, found: &kernel::Found, programs: BTreeMap<String, bool>) {
        let status = Status { routes: Some(kernel::best(found)), programs, problem: None };
        self.teller.send_if_modified(|old| {
            let is_new = *old != status;
            *old = status;
            is_new
        });
    }
}
