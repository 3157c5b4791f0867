//! What a run is at, on stderr, when that is a terminal.

use std::{
    io::{IsTerminal, stderr},
    rc::Rc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::environment::Group;
use crate::units::show_count;

/// Time between two updates: often enough to look alive, seldom enough not to disturb what is measured.
const UPDATE: Duration = Duration::from_millis(250);

/// Updates one line until its task is aborted, and then removes it.
pub async fn show(groups: Vec<Rc<Group>>, began: Instant) {
    if !stderr().is_terminal() {
        return;
    }
    let line = Line(ProgressBar::new_spinner());
    line.0.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is a constant that parses"));
    loop {
        let (mut started, mut failed, mut open) = (0, 0, 0);
        for group in &groups {
            let tally = group.tally.borrow();
            started += tally.started;
            failed += tally.failed;
            open += tally.started - tally.completed - tally.failed - tally.cut;
        }
        line.0.set_message(format!(
            "{} s: {} flows started, {} open, {} failed",
            began.elapsed().as_secs(),
            show_count(started),
            show_count(open),
            show_count(failed)
        ));
        line.0.tick();
        tokio::time::sleep(UPDATE).await;
    }
}

/// A line that vanishes with its task.
struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
