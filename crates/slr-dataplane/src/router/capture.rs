//! While somebody captures, another program is on the interfaces: see [`crate::capture`].

use std::path::Path;

use super::Router;
use crate::capture::{self, Capture, Kind, SwitchError};
use crate::object::LoadError;

impl Router {
    /// Put the program that process `pid` has pinned on all interfaces, in place of the plain one. Packets meet one of the two.
    pub fn start_capture(&mut self, pid: u32) -> Result<(), SwitchError> {
        let plain = self.loaded.program(super::PROGRAM).expect("in the object");
        let mine = self.loaded.map("reasons").expect("in the object");
        self.switch.start(Kind::Router, self.pins.as_deref(), pid, &mine, plain, &self.attachments)
    }

    /// Put the plain program back; nothing if it is there.
    pub fn end_capture(&mut self) -> Result<(), SwitchError> {
        let plain = self.loaded.program(super::PROGRAM).expect("in the object");
        self.switch.end(plain, &self.attachments)
    }

    /// The folder of this version's pins, where whoever captures finds the tables.
    pub fn pins(&self) -> Option<&Path> {
        self.pins.as_deref()
    }

    /// A program that captures, over this process's tables, attached nowhere: for tests and benchmarks.
    pub fn capture(&self) -> Result<Capture, LoadError> {
        Capture::over(Kind::Router, |name| capture::table_of(&self.loaded, name))
    }
}
