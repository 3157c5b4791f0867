//! The screen: five panels, one of which the keys move.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use slr_session::registry::ServiceState;

use super::rates::{Rate, Rates, short};
use crate::overview::{Host, Overview};

/// Panels, in the order of the Tab key.
const PANELS: usize = 5;
const TITLES: [&str; PANELS] = ["hosts", "virtual subnets", "drops", "recovery", "what happened"];

/// Which panel the keys move, and how far each is scrolled.
#[derive(Debug, Default)]
pub struct Screen {
    focus: usize,
    scrolled: [usize; PANELS],
}

/// To which panel.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Next,
    Last,
}

/// A panel's lines, before they are cut to its height.
struct Panel {
    head: Vec<&'static str>,
    widths: Vec<Constraint>,
    rows: Vec<Row<'static>>,
    empty: &'static str,
}

impl Screen {
    /// The keys move another panel from now on.
    pub fn turn(&mut self, step: Step) {
        self.focus = match step {
            Step::Next => (self.focus + 1) % PANELS,
            Step::Last => (self.focus + PANELS - 1) % PANELS,
        };
    }

    /// Moves the panel by so many lines.
    pub fn scroll(&mut self, lines: isize) {
        let place = &mut self.scrolled[self.focus];
        *place = place.saturating_add_signed(lines);
    }

    /// Draws all of it. `trouble`: why the overview is an old one.
    pub fn draw(&mut self, frame: &mut Frame, overview: &Overview, rates: &Rates, trouble: Option<&str>) {
        let [head, top, bottom, keys] = Layout::vertical([
            Constraint::Length(2 + overview.alarms.len().min(3) as u16),
            Constraint::Fill(3),
            Constraint::Fill(2),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let [hosts, subnets] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(top);
        let [drops, recovery, happened] =
            Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2), Constraint::Fill(3)]).areas(bottom);
        frame.render_widget(self::head(overview, rates, trouble), head);
        let panels = [
            (hosts, self::hosts(overview, rates)),
            (subnets, self::subnets(overview, rates)),
            (drops, self::drops(overview, rates)),
            (recovery, self::recovery(overview, rates)),
            (happened, self::happened(overview)),
        ];
        for (place, (area, panel)) in panels.into_iter().enumerate() {
            self.panel(frame, place, area, panel);
        }
        let help = "q quit   Tab next panel   ↑ ↓ PgUp PgDn scroll";
        frame.render_widget(Paragraph::new(help).style(Style::new().add_modifier(Modifier::DIM)), keys);
    }

    fn panel(&mut self, frame: &mut Frame, place: usize, area: Rect, panel: Panel) {
        let height = usize::from(area.height.saturating_sub(3));
        let last = panel.rows.len().saturating_sub(height);
        let first = self.scrolled[place].min(last);
        self.scrolled[place] = first;
        let hidden = panel.rows.len().saturating_sub(first + height);
        let title = match hidden {
            0 => format!(" {} ", TITLES[place]),
            hidden => format!(" {} ({hidden} more below) ", TITLES[place]),
        };
        let style = if place == self.focus { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        let block = Block::bordered().title(title).border_style(style);
        if panel.rows.is_empty() {
            return frame.render_widget(Paragraph::new(panel.empty).block(block), area);
        }
        let rows = panel.rows.into_iter().skip(first).take(height);
        let head = Row::new(panel.head).style(Style::new().add_modifier(Modifier::BOLD));
        frame.render_widget(Table::new(rows, panel.widths).header(head).block(block), area);
    }
}

fn head(overview: &Overview, rates: &Rates, trouble: Option<&str>) -> Paragraph<'static> {
    let sum = |of: fn(&Rate) -> f64, rates: &std::collections::BTreeMap<String, Rate>| {
        rates.values().map(of).fold(0.0, |sum, more| sum + more)
    };
    let packets: f64 = sum(|rate| rate.packets, &rates.reasons);
    let dropped: f64 = overview
        .reasons
        .iter()
        .filter(|reason| reason.verdict == "drop")
        .filter_map(|reason| rates.reasons.get(&reason.reason))
        .fold(0.0, |sum, rate| sum + rate.packets);
    let (bytes, flows): (f64, f64) = (sum(|rate| rate.bytes, &rates.hosts), sum(|rate| rate.flows, &rates.hosts));
    let served: Vec<&Host> = overview.hosts.iter().filter(|host| host.role.is_some()).collect();
    let active = served.iter().filter(|host| host.up && host.state == ServiceState::Active).count();
    let routers = overview.routers.iter().map(|router| {
        let mark = if router.connected { "" } else { ", NOT CONNECTED" };
        format!("{} ({}{mark})", router.name, router.relation)
    });
    let routers: Vec<String> = routers.collect();
    let routers = if routers.is_empty() { String::new() } else { format!("   with {}", routers.join(", ")) };
    let mut first = vec![Span::styled(overview.router.to_string(), Style::new().add_modifier(Modifier::BOLD))];
    first.push(Span::raw(format!(", {} router, {}{routers}", overview.tier, overview.software)));
    if let Some(trouble) = trouble {
        first.push(Span::styled(format!("   OLD: {trouble}"), Style::new().add_modifier(Modifier::REVERSED)));
    }
    let figures = format!(
        "{active} of {} hosts active   {} packets/s   {}bit/s to hosts   {} new flows/s   {} dropped/s   {} pinned flows",
        served.len(),
        short(packets),
        short(8.0 * bytes),
        short(flows),
        short(dropped),
        short(overview.flows as f64),
    );
    let mut lines = vec![Line::from(first), Line::from(figures)];
    let alarm = |alarm: &String| Line::styled(format!("ALARM {alarm}"), Style::new().add_modifier(Modifier::REVERSED));
    lines.extend(overview.alarms.iter().take(3).map(alarm));
    Paragraph::new(lines)
}

/// A shape and a word besides the colour, as on the web page.
fn state(host: &Host) -> Cell<'static> {
    let (shape, color) = match host.state {
        ServiceState::Active => ("●", Color::Green),
        ServiceState::Draining => ("◐", Color::Blue),
        ServiceState::Silent => ("◇", Color::Yellow),
        ServiceState::Down | ServiceState::Removed => ("✕", Color::Red),
    };
    let others = host.services.iter().filter(|service| service.state != host.state).count();
    let mut word = host.state.to_string();
    if others > 0 {
        word += &format!(", {others} not");
    }
    if !host.up {
        word += ", not reached";
    }
    Cell::new(format!("{shape} {word}")).style(Style::new().fg(color))
}

fn traffic(rate: Option<&Rate>) -> [String; 3] {
    match rate {
        Some(rate) => [short(rate.packets), short(8.0 * rate.bytes), short(rate.flows)],
        None => ["-", "-", "-"].map(str::to_owned),
    }
}

fn hosts(overview: &Overview, rates: &Rates) -> Panel {
    let mut hosts: Vec<&Host> = overview.hosts.iter().collect();
    hosts.sort_by_key(|host| (host.state == ServiceState::Active && host.up, host.name.clone()));
    let row = |host: &Host| {
        let cells = [Cell::new(host.name.to_string()), state(host), Cell::new(format!("{:.1}", host.share))];
        let traffic = traffic(rates.hosts.get(host.name.as_str())).map(Cell::new);
        let rest = [short(host.flows as f64), host.reason.clone()].map(Cell::new);
        Row::new(cells.into_iter().chain(traffic).chain(rest))
    };
    Panel {
        head: vec!["host", "state", "share %", "packets/s", "bit/s", "flows/s", "flows", "why"],
        widths: [12, 15, 7, 9, 7, 7, 6].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]).collect(),
        rows: hosts.into_iter().map(row).collect(),
        empty: "no host has connected yet",
    }
}

fn subnets(overview: &Overview, rates: &Rates) -> Panel {
    let mut subnets: Vec<_> = overview.subnets.iter().collect();
    subnets.sort_by_key(|subnet| (subnet.active, subnet.name.clone()));
    let row = |subnet: &crate::overview::Subnet| {
        let cells = [subnet.prefix.to_string(), format!("{} of {}", subnet.active, subnet.hosts)];
        Row::new(cells.into_iter().chain(traffic(rates.subnets.get(&subnet.name))))
    };
    Panel {
        head: vec!["subnet", "active", "packets/s", "bit/s", "flows/s"],
        widths: [Constraint::Fill(1)].into_iter().chain([8, 9, 7, 7].map(Constraint::Length)).collect(),
        rows: subnets.into_iter().map(row).collect(),
        empty: "no virtual subnet is configured",
    }
}

fn drops(overview: &Overview, rates: &Rates) -> Panel {
    let per_s = |reason: &str| rates.reasons.get(reason).map_or(0.0, |rate| rate.packets);
    let mut drops: Vec<_> = overview.reasons.iter().filter(|reason| reason.verdict == "drop").collect();
    drops.sort_by(|a, b| {
        per_s(&b.reason).total_cmp(&per_s(&a.reason)).then(b.packets.cmp(&a.packets)).then(a.reason.cmp(&b.reason))
    });
    let row = |drop: &crate::overview::Reason| {
        Row::new([drop.reason.clone(), short(per_s(&drop.reason)), short(drop.packets as f64), drop.meaning.clone()])
    };
    Panel {
        head: vec!["reason", "/s", "in all", "meaning"],
        widths: vec![Constraint::Length(22), Constraint::Length(6), Constraint::Length(7), Constraint::Fill(1)],
        rows: drops.into_iter().map(row).collect(),
        empty: "nothing was dropped",
    }
}

fn recovery(overview: &Overview, rates: &Rates) -> Panel {
    let row = |(rung, flows): (&String, &u64)| {
        let per_s = rates.recovered.get(rung).copied().unwrap_or_default();
        Row::new([rung.clone(), short(per_s), short(*flows as f64)])
    };
    Panel {
        head: vec!["rung", "flows/s", "flows"],
        widths: vec![Constraint::Fill(1), Constraint::Length(8), Constraint::Length(8)],
        rows: overview.recovered.iter().map(row).collect(),
        empty: "nothing had to be brought back",
    }
}

fn happened(overview: &Overview) -> Panel {
    let row = |one: &crate::overview::happenings::Happening| {
        let ago = overview.at_ms.saturating_sub(one.at_ms) / 1_000;
        let ago = if ago < 100 { format!("{ago} s") } else { format!("{} min", ago / 60) };
        Row::new([ago, one.whom.clone(), one.what.clone()])
    };
    Panel {
        head: vec!["ago", "whom", "what"],
        widths: vec![Constraint::Length(7), Constraint::Length(10), Constraint::Fill(1)],
        rows: overview.happenings.iter().map(row).collect(),
        empty: "nothing since the daemon started",
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::overview::sample;

    fn drawn(screen: &mut Screen, overview: &Overview, trouble: Option<&str>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(140, 30)).unwrap();
        terminal.draw(|frame| screen.draw(frame, overview, &Rates::default(), trouble)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_that_somebody_looks_for_is_there() {
        let overview = sample();
        let text = drawn(&mut Screen::default(), &overview, Some("the daemon is away"));
        for expected in [
            "h1",
            "● active",
            "✕ down",
            "192.0.2.0/24",
            "drop_orphan",
            "chain",
            "1 of 2 hosts active",
            "OLD: the daemon",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        let h2 = text.find("h2").unwrap();
        assert!(h2 < text.find("h1 ").unwrap(), "who needs help comes first:\n{text}");
    }

    #[test]
    fn a_panel_scrolls_to_its_end_and_no_further() {
        let mut overview = sample();
        let template = overview.hosts[0].clone();
        overview.hosts =
            (0..500).map(|n| Host { name: format!("h{n:03}").parse().unwrap(), ..template.clone() }).collect();
        let mut screen = Screen::default();
        assert!(drawn(&mut screen, &overview, None).contains("more below"));
        (0..100).for_each(|_| screen.scroll(10));
        let text = drawn(&mut screen, &overview, None);
        assert!(text.contains("h499") && !text.contains("hosts ("), "{text}");
        screen.scroll(-1);
        assert!(drawn(&mut screen, &overview, None).contains("hosts (1 more below)"), "one line back is one line");
        screen.turn(Step::Last);
        assert_eq!(screen.focus, PANELS - 1);
        screen.turn(Step::Next);
        assert_eq!(screen.focus, 0);
    }
}
