//! `slr-router top`: the running router, live in a terminal. Asks for the overview and draws it; [`screen`] is pure.

mod rates;
mod screen;

use std::io::{IsTerminal, stdout};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};
use slr_daemon::{admin, output};

use self::rates::Rates;
use self::screen::{Screen, Step};
use crate::cli::Output;
use crate::daemon::Request;
use crate::overview::Overview;

/// Size of what `--once` prints, in characters.
const ONCE: (u16, u16) = (140, 40);

/// How.
#[derive(Debug, Args)]
pub struct Options {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Look twice, print the screen as text, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: Output,
}

/// Shows it until somebody presses q.
pub fn run(options: &Options) -> Result<()> {
    let every = Duration::from_secs(options.every);
    let ask = || admin::request::<Overview>(&options.output.socket, &Request::Overview);
    let first = ask()?;
    if options.once {
        sleep(every);
        return once(first, ask()?);
    }
    ensure!(stdout().is_terminal(), "top draws on a terminal, and this is none: use --once, or show --json");
    let mut terminal = ratatui::init();
    let result = live(&mut terminal, first, every, ask);
    ratatui::restore();
    result
}

fn once(first: Overview, second: Overview) -> Result<()> {
    let mut terminal = Terminal::new(TestBackend::new(ONCE.0, ONCE.1))?;
    let rates = Rates::between(&first, &second);
    terminal.draw(|frame| Screen::default().draw(frame, &second, &rates, None))?;
    let buffer = terminal.backend().buffer();
    let lines = (0..ONCE.1).map(|y| (0..ONCE.0).map(|x| buffer[(x, y)].symbol()).collect::<String>());
    let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    output::print(lines.join("\n").trim_end());
    Ok(())
}

fn live(
    terminal: &mut DefaultTerminal,
    mut now: Overview,
    every: Duration,
    ask: impl Fn() -> Result<Overview, admin::AdminError>,
) -> Result<()> {
    let (mut screen, mut rates, mut trouble) = (Screen::default(), Rates::default(), None);
    let mut due = Instant::now() + every;
    loop {
        terminal.draw(|frame| screen.draw(frame, &now, &rates, trouble.as_deref()))?;
        if event::poll(due.saturating_duration_since(Instant::now()))? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                    KeyCode::Tab => screen.turn(Step::Next),
                    KeyCode::BackTab => screen.turn(Step::Last),
                    KeyCode::Down => screen.scroll(1),
                    KeyCode::Up => screen.scroll(-1),
                    KeyCode::PageDown => screen.scroll(10),
                    KeyCode::PageUp => screen.scroll(-10),
                    _ => {}
                }
            }
            continue;
        }
        due = Instant::now() + every;
        match ask() {
            Ok(newer) => {
                rates = Rates::between(&now, &newer);
                (now, trouble) = (newer, None);
            }
            // It may be restarting: what was seen last stays, and that it is old is said.
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}
