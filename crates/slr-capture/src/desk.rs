//! The daemon's part: whose program is on the interfaces, and until when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use slr_dataplane::capture::SwitchError;
use slr_dataplane::host::Host;
use slr_dataplane::router::Router;
use slr_dataplane::xdp::Attachment;

/// Whoever is not heard for so long has gone: a killed process says nothing.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often it says that it is there: twice may be missed.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);

/// What the daemon is asked to do. Each is answered with the [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Nothing.
    Tell,
    /// Put the program that this process has pinned on the interfaces.
    Start {
        /// The process.
        pid: u32,
    },
    /// It is still there.
    Renew {
        /// The process.
        pid: u32,
    },
    /// Take its program off.
    Stop {
        /// The process.
        pid: u32,
    },
}

/// What whoever captures has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The process that captures.
    pub pid: Option<u32>,
    /// Where the tables are pinned.
    pub pins: Option<PathBuf>,
    /// Where the programs are: indexes and names.
    pub interfaces: BTreeMap<u32, String>,
    /// Hosts by the index of their hop; a router's.
    pub hops: BTreeMap<u16, String>,
}

/// What can be captured at.
pub trait Plane {
    /// Puts a process's program on the interfaces.
    fn start(&mut self, pid: u32) -> Result<(), SwitchError>;
    /// Puts the plain one back.
    fn end(&mut self) -> Result<(), SwitchError>;
    /// All but the process.
    fn standing(&self) -> Standing;
}

impl Plane for Router {
    fn start(&mut self, pid: u32) -> Result<(), SwitchError> {
        self.start_capture(pid)
    }

    fn end(&mut self) -> Result<(), SwitchError> {
        self.end_capture()
    }

    fn standing(&self) -> Standing {
        let hops = self.hops().unwrap_or_default().into_iter();
        Standing {
            hops: hops.filter_map(|hop| Some((hop.hop, hop.name?.to_string()))).collect(),
            pins: self.pins().map(Into::into),
            interfaces: names(self.attached()),
            pid: None,
        }
    }
}

impl Plane for Host {
    fn start(&mut self, pid: u32) -> Result<(), SwitchError> {
        self.start_capture(pid)
    }

    fn end(&mut self) -> Result<(), SwitchError> {
        self.end_capture()
    }

    fn standing(&self) -> Standing {
        let (pins, interfaces) = (self.pins().map(Into::into), names(self.attached()));
        Standing { pins, interfaces, ..Standing::default() }
    }
}

fn names(attachments: &[Attachment]) -> BTreeMap<u32, String> {
    attachments.iter().map(|attachment| (attachment.ifindex, attachment.interface.clone())).collect()
}

/// Who captures: one process at a time.
#[derive(Debug, Default)]
pub struct Desk {
    owner: Option<(u32, Instant)>,
}

impl Desk {
    /// Does what is asked, or says why not.
    pub fn answer(&mut self, order: Order, plane: &mut impl Plane, now: Instant) -> Result<Standing, String> {
        self.expire(plane, now);
        let owner = self.owner.map(|(pid, _)| pid);
        match order {
            Order::Tell => {}
            Order::Start { pid } => {
                if let Some(other) = owner {
                    return Err(format!("process {other} captures already; one can at a time"));
                }
                plane.start(pid).map_err(|error| error.to_string())?;
                tracing::info!(pid, "packets are captured");
                self.owner = Some((pid, now + LEASE));
            }
            Order::Renew { pid } if owner == Some(pid) => self.owner = Some((pid, now + LEASE)),
            Order::Renew { pid } => {
                return Err(format!(
                    "the capture of process {pid} was ended: it was not heard for {} s",
                    LEASE.as_secs()
                ));
            }
            Order::Stop { pid } if owner == Some(pid) => self.end(plane),
            Order::Stop { .. } => {} // it has ended already
        }
        Ok(Standing { pid: self.owner.map(|(pid, _)| pid), ..plane.standing() })
    }

    /// When [`Desk::expire`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.owner.map(|(_, until)| until)
    }

    /// Ends the capture of a process that has gone.
    pub fn expire(&mut self, plane: &mut impl Plane, now: Instant) {
        if let Some((pid, until)) = self.owner
            && until <= now
        {
            tracing::warn!(pid, "whoever captures has gone");
            self.end(plane);
        }
    }

    /// Ends a capture, if there is one.
    pub fn end(&mut self, plane: &mut impl Plane) {
        let Some((pid, _)) = self.owner.take() else { return };
        match plane.end() {
            Ok(()) => tracing::info!(pid, "packets are captured no more"),
            Err(error) => tracing::error!("a program that captures stays, and finds nobody to tell: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose program is on the interfaces, and how often that changed.
    #[derive(Default)]
    struct Recorder(Option<u32>, u32);

    impl Plane for Recorder {
        fn start(&mut self, pid: u32) -> Result<(), SwitchError> {
            if pid == 0 {
                return Err(SwitchError::NoPins);
            }
            (self.0, self.1) = (Some(pid), self.1 + 1);
            Ok(())
        }

        fn end(&mut self) -> Result<(), SwitchError> {
            (self.0, self.1) = (None, self.1 + 1);
            Ok(())
        }

        fn standing(&self) -> Standing {
            Standing::default()
        }
    }

    #[test]
    fn one_captures_until_it_stops_or_is_not_heard() {
        let (mut desk, mut plane, start) = (Desk::default(), Recorder::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(desk.answer(Order::Tell, &mut plane, at(0)).unwrap().pid, None);
        assert_eq!(desk.answer(Order::Start { pid: 7 }, &mut plane, at(0)).unwrap().pid, Some(7));
        let refusal = desk.answer(Order::Start { pid: 8 }, &mut plane, at(1)).unwrap_err();
        assert!(refusal.contains("process 7"), "{refusal}");
        assert!(desk.answer(Order::Renew { pid: 8 }, &mut plane, at(2)).is_err());
        desk.answer(Order::Stop { pid: 8 }, &mut plane, at(2)).unwrap();
        desk.answer(Order::Renew { pid: 7 }, &mut plane, at(2_000)).unwrap();
        assert_eq!((desk.due(), plane.0), (Some(at(5_000)), Some(7)));
        desk.expire(&mut plane, at(4_999));
        assert_eq!(plane.0, Some(7));
        desk.expire(&mut plane, at(5_000));
        assert_eq!((desk.due(), plane.0), (None, None));
        assert!(desk.answer(Order::Renew { pid: 7 }, &mut plane, at(5_001)).unwrap_err().contains("was ended"));
        desk.answer(Order::Start { pid: 8 }, &mut plane, at(5_002)).unwrap();
        desk.answer(Order::Stop { pid: 8 }, &mut plane, at(5_003)).unwrap();
        assert_eq!((plane.0, plane.1), (None, 4));
    }

    #[test]
    fn whoever_asks_finds_a_lease_over_without_a_timer() {
        let (mut desk, mut plane, start) = (Desk::default(), Recorder::default(), Instant::now());
        desk.answer(Order::Start { pid: 7 }, &mut plane, start).unwrap();
        assert_eq!(desk.answer(Order::Start { pid: 8 }, &mut plane, start + LEASE).unwrap().pid, Some(8));
        assert!(desk.answer(Order::Start { pid: 0 }, &mut plane, start + 2 * LEASE).is_err());
        assert_eq!((desk.due(), plane.0), (None, None));
    }
}
