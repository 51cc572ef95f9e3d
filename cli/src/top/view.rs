//! What `causeway top` draws: a pure function of the state and the size of the terminal. The judgement is that of the
//! page, in `overview` and `status`.

use ::receiver::status::LinkStatus;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};

use super::ask::Shown;
use super::sheet::{Plot, Sheet, colour};
use super::state::{Now, Scroll, State};
use crate::history::{Curve, INTERVAL};
use crate::overview::{Answer, Chart, Level, ROWS_MAX, Station, percent, plain, receiver, sender};
use crate::status::lifts::{DETAILS_MAX, HaltGroup, Halts, Lift, forget, manual};
use crate::status::sentences::{listens, named, sender_state};

/// Lines above and below what scrolls.
const FRAME: usize = 2;

/// Shows another part on a terminal of this size.
pub(super) fn scroll(state: &mut State, scroll: Scroll, size: Size) {
    let height = body(state, size.width).len();
    state.scroll(scroll, height, body_height(size));
}

/// Lines of what scrolls, on a terminal of this size.
fn body_height(size: Size) -> usize {
    usize::from(size.height).saturating_sub(FRAME)
}

/// Everything as plain text.
pub(super) fn text(state: &State, width: u16) -> String {
    let lines = [title(state)].into_iter().chain(body(state, width));
    lines.map(|line| line.to_string().trim_end().to_owned() + "\n").collect()
}

impl Widget for &State {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let body = body(self, area.width);
        let shown = body_height(area.as_size());
        let top = self.top.min(body.len().saturating_sub(shown));
        let foot = foot(self, top, body.len().saturating_sub(top + shown));
        let visible: Vec<_> = body.into_iter().skip(top).take(shown).collect();
        let line = |y: u16| Rect { y: area.y + y, height: 1, ..area };
        if area.height > 0 {
            title(self).render(line(0), buffer);
        }
        if area.height > 1 {
            foot.render(line(area.height - 1), buffer);
        }
        if area.height > 2 {
            Paragraph::new(visible).render(Rect { y: area.y + 1, height: area.height - 2, ..area }, buffer);
        }
    }
}

fn title(state: &State) -> Line<'static> {
    let words = match &state.now {
        Now::Asking => format!("{}: asked, no answer yet", state.port),
        Now::Unreachable { since, .. } => format!("{}: unreachable since {}", state.port, clock(since)),
        Now::Known { at, shown, .. } => {
            let (name, role, instance) = match &**shown {
                Shown::Sender { status, .. } => (&status.link, "sender", &status.instance),
                Shown::Receiver { status, .. } => (&status.instance, "receiver", &status.instance),
            };
            format!("{}: {role} {} at {}, as of {}", named(name), named(instance), state.port, clock(at))
        }
    };
    let style = if matches!(state.now, Now::Unreachable { .. }) { Style::new().fg(Color::Red) } else { Style::new() };
    Line::styled(plain(&words), style.bold())
}

fn clock(time: &jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn foot(state: &State, above: usize, below: usize) -> Line<'static> {
    let more = match (above, below) {
        (0, 0) => String::new(),
        _ => format!("; arrows and PgUp, PgDn scroll: {above} lines above, {below} below"),
    };
    match &state.now {
        Now::Unreachable { .. } => Line::from(format!("q leaves{more}; asking again every second")).fg(Color::Red),
        _ => Line::from(format!("q leaves{more}")).dim(),
    }
}

/// The lines that scroll.
fn body(state: &State, width: u16) -> Vec<Line<'static>> {
    let mut sheet = Sheet::new(width);
    match &state.now {
        Now::Asking => {}
        Now::Unreachable { since, reason } => {
            answer(&mut sheet, &unreachable(since, reason));
            charts(&mut sheet, state, &GAPS);
        }
        Now::Known { options, shown, .. } => match &**shown {
            Shown::Sender { status, topics, groups } => {
                sheet.say(&format!("{}; causeway {}", sender_state(status), status.version), Style::new());
                answer(&mut sheet, &sender::answer(status));
                needs_operator(&mut sheet, status, options);
                way(&mut sheet, &sender::stations(status));
                charts(&mut sheet, state, &sender::CHARTS);
                sheet.table(&sender::topics_table(status, topics.clone()));
                sheet.table(&sender::classes(status));
                sheet.table(&sender::groups_table(status, groups.clone()));
                sheet.table(&sender::latency(status));
            }
            Shown::Receiver { status, groups } => {
                let troubled = receiver::troubled(status);
                sheet.say(&format!("{}; causeway {}", listens(status), status.version), Style::new());
                answer(&mut sheet, &receiver::answer(status, &troubled));
                links_with_problems(&mut sheet, &troubled);
                way(&mut sheet, &receiver::stations(status));
                charts(&mut sheet, state, &receiver::CHARTS);
                sheet.table(&receiver::links(status, &state.history));
                match groups {
                    Ok(groups) => sheet.table(&receiver::groups_table(status, groups)),
                    Err(reason) => sheet.line("groups", &format!("unknown: {reason}"), Style::new()),
                }
            }
        },
    }
    sheet.lines()
}

/// Curves while the process does not answer, whose role may have changed.
const GAPS: [Chart; 2] = [
    Chart { curve: Curve::Records, title: "Records", unit: sender::per_second, unknown: "unknown" },
    Chart { curve: Curve::Lag, title: "Lag", unit: sender::records, unknown: "unknown" },
];

fn unreachable(since: &jiff::Timestamp, reason: &str) -> Answer {
    Answer {
        level: Level::Unknown,
        keeping_up: "unknown: the process does not answer".to_owned(),
        limited_by: "unknown".to_owned(),
        problems: vec![format!("unreachable since {}: {reason}", clock(since))],
        actions: vec!["is Causeway running, and does this match `listen` in its [admin]?".to_owned()],
    }
}

fn answer(sheet: &mut Sheet, answer: &Answer) {
    sheet.head(&format!("The answer: {}", answer.level.word()));
    let style = colour(answer.level);
    sheet.line("keeping up", &answer.keeping_up, style);
    sheet.line("limited by", &answer.limited_by, Style::new());
    sheet.list("problems", &answer.problems, "none");
    sheet.list("action", &answer.actions, answer.no_action());
}

/// Halts, and deleted topics, each with what to do.
fn needs_operator(sheet: &mut Sheet, status: &::sender::Status, options: &str) {
    if status.halted.is_empty() && status.deleted_topics.is_empty() {
        return;
    }
    sheet.head("Needs an operator");
    halts(sheet, Halts { listed: &status.halted, count: status.halted.len() }, options);
    for deleted in status.deleted_topics.iter().take(ROWS_MAX) {
        let words = format!("{} is deleted at the source; {} positions are stored", deleted.topic, deleted.positions);
        sheet.say(&words, Style::new().bold());
        sheet.line("manual", &manual("source-deleted"), Style::new());
        command(sheet, &forget(&deleted.topic, options));
    }
    sheet.more_than(status.deleted_topics.len(), ROWS_MAX);
}

fn halts(sheet: &mut Sheet, halts: Halts<'_>, options: &str) {
    let groups = HaltGroup::all(halts);
    for group in groups.iter().take(ROWS_MAX) {
        sheet.say(&group.heading(), colour(Level::Wrong));
        sheet.line("meaning", group.sentence(), Style::new());
        for halt in group.halts.iter().take(DETAILS_MAX) {
            sheet.line("", &format!("{}/{}: {}", halt.topic, halt.partition, halt.detail), Style::new());
        }
        sheet.more_than(group.halts.len(), DETAILS_MAX);
        sheet.line("manual", &group.manual(), Style::new());
        group.lifts(options).iter().for_each(|lift| command(sheet, lift));
    }
    sheet.more_than(groups.len(), ROWS_MAX);
}

fn command(sheet: &mut Sheet, lift: &Lift) {
    sheet.line("to do", &format!("{}:", lift.when), Style::new());
    sheet.line("", &lift.command, Style::new().bold());
}

fn links_with_problems(sheet: &mut Sheet, troubled: &[&LinkStatus]) {
    if troubled.is_empty() {
        return;
    }
    sheet.head("Links with problems");
    for link in troubled.iter().take(receiver::TROUBLED_MAX) {
        sheet.say(&format!("Link {}: {}", named(&link.link), receiver::problem(link)), colour(Level::Wrong));
        sheet.list("says", &link.trouble, "no further problem");
        if let Some(sender) = link.sender.as_ref().filter(|_| link.halted_partitions > 0) {
            sheet.line("", &format!("the commands are for its sender, {sender}"), Style::new());
        }
        halts(sheet, Halts { listed: &link.halted, count: link.halted_partitions }, "");
        sheet.more_than(link.halted_partitions, link.halted.len());
    }
    sheet.more_than(troubled.len(), receiver::TROUBLED_MAX);
}

fn way(sheet: &mut Sheet, stations: &[Station]) {
    sheet.head("The way of a record");
    for station in stations {
        let used = station.used.map(|(name, part)| format!("{name}: {}", percent(part)));
        let facts = station.facts.iter().map(|(name, value)| format!("{name}: {value}"));
        let words: Vec<_> = [station.what.clone()].into_iter().chain(used).chain(facts).collect();
        let words = format!("{}; {}", station.level.word(), words.join("; "));
        sheet.line(station.name, &words, colour(station.level));
    }
}

/// The curves; one sample is no curve.
fn charts(sheet: &mut Sheet, state: &State, charts: &[Chart]) {
    let history = &state.history;
    if history.points(Curve::Records).is_empty() {
        return;
    }
    sheet.head(&format!("The last minutes, since this command started; a column is {} s", INTERVAL.as_secs()));
    let plots: Vec<_> = charts.iter().map(|chart| plot(chart, state)).collect();
    sheet.plots(&plots);
}

fn plot(chart: &Chart, state: &State) -> Plot {
    let points = state.history.points(chart.curve);
    // The newest sample can be from before the silence.
    let now = points.last().and_then(|point| point.value).filter(|_| matches!(state.now, Now::Known { .. }));
    let now = now.map_or_else(|| chart.unknown.to_owned(), chart.unit);
    Plot { title: format!("{}: {now}", chart.title), points }
}

#[cfg(test)]
mod tests;
