//! A sheet of text as wide as the terminal: headings, sentences that wrap, tables and curves, in lines.

use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};

use crate::history::Point;
use crate::overview::{Level, ROWS_MAX, Table, plain};

/// Columns of the names at the beginning of lines.
const NAME: usize = 12;
/// Lines of a curve, without its title.
const BARS: usize = 3;
/// Narrowest curve.
const CURVE_MIN: usize = 24;
/// Parts of a cell by height, the lowest first.
const PARTS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// Cell of a time without knowledge.
const GAP: &str = "·";
/// Widest cell of a table, except where there is room.
const CELL_MAX: usize = 40;

/// A curve and what is said of it.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) points: Vec<Point>,
}

pub(super) struct Sheet {
    width: usize,
    lines: Vec<Line<'static>>,
}

pub(super) fn colour(level: Level) -> Style {
    match level {
        Level::Good => Style::new().fg(Color::Green),
        Level::Look => Style::new().fg(Color::Yellow),
        Level::Wrong => Style::new().fg(Color::Red),
        Level::Unknown => Style::new().fg(Color::DarkGray),
    }
}

impl Sheet {
    pub(super) fn new(width: u16) -> Self {
        Self { width: usize::from(width).max(1), lines: Vec::new() }
    }

    pub(super) fn lines(self) -> Vec<Line<'static>> {
        self.lines
    }

    /// A heading below an empty line.
    pub(super) fn head(&mut self, words: &str) {
        self.lines.push(Line::default());
        self.wrap(Line::default(), words, Style::new().bold());
    }

    /// A sentence.
    pub(super) fn say(&mut self, words: &str, style: Style) {
        self.wrap(Line::default(), words, style);
    }

    /// A sentence behind a name.
    pub(super) fn line(&mut self, name: &str, words: &str, style: Style) {
        let name = if self.width > 2 * NAME { format!("  {name:<NAME$} ") } else { format!("{name} ") };
        self.wrap(Line::from(name.dim()), words, style);
    }

    /// A line for each sentence, of which the first has the name; bounded.
    pub(super) fn list(&mut self, name: &str, sentences: &[String], none: &str) {
        if sentences.is_empty() {
            self.line(name, none, Style::new());
        }
        for (index, sentence) in sentences.iter().take(ROWS_MAX).enumerate() {
            self.line(if index == 0 { name } else { "" }, sentence, Style::new());
        }
        self.more_than(sentences.len(), ROWS_MAX);
    }

    /// The number of what is not shown.
    pub(super) fn more_than(&mut self, all: usize, shown: usize) {
        if all > shown {
            self.line("", &format!("and {} more", all - shown), Style::new().dim());
        }
    }

    pub(super) fn table(&mut self, table: &Table) {
        self.head(table.title);
        if !table.note.is_empty() {
            self.say(&plain(&table.note), Style::new().dim());
        }
        if table.rows.is_empty() {
            return;
        }
        let head: Vec<_> = table.head.iter().map(|cell| (*cell).to_owned()).collect();
        let shown: Vec<Vec<_>> =
            table.rows.iter().take(ROWS_MAX).map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
        let widths = self.widths(&head, &shown);
        self.row(&head, &widths, table.numbers, Style::new().dim());
        shown.iter().for_each(|row| self.row(row, &widths, table.numbers, Style::new()));
        self.more_than(table.rows.len(), ROWS_MAX);
    }

    /// The widths of columns: as wide as their cells, but the first takes what is left.
    fn widths(&self, head: &[String], rows: &[Vec<String>]) -> Vec<usize> {
        let widest = |column: usize| {
            let cells = rows.iter().chain([head].map(<[_]>::to_vec).iter()).map(|row| width(&row[column])).max();
            cells.unwrap_or(0)
        };
        let mut widths: Vec<_> = (0..head.len()).map(widest).collect();
        widths.iter_mut().skip(1).for_each(|width| *width = (*width).min(CELL_MAX));
        let others: usize = widths.iter().skip(1).map(|width| width + 2).sum();
        widths[0] = widths[0].min(self.width.saturating_sub(others + 2).max(8));
        widths
    }

    fn row(&mut self, cells: &[String], widths: &[usize], numbers: usize, style: Style) {
        let cells = cells.iter().zip(widths).enumerate().map(|(column, (cell, &most))| {
            let cell = cut(cell, most);
            let room = " ".repeat(most.saturating_sub(width(&cell)));
            if column >= numbers { format!("  {room}{cell}") } else { format!("  {cell}{room}") }
        });
        self.lines.push(Line::styled(cells.collect::<String>(), style));
    }

    /// Curves side by side, as many as there is room for. A column is one sample, the newest at the right.
    pub(super) fn plots(&mut self, plots: &[Plot]) {
        let columns = (self.width / CURVE_MIN).clamp(1, plots.len().max(1));
        let each = (self.width / columns).saturating_sub(2).max(1);
        for together in plots.chunks(columns) {
            let mut lines = vec![Line::default(); BARS + 1];
            for plot in together {
                let title = cut(&plot.title, each);
                let room = " ".repeat(each.saturating_sub(width(&title)));
                lines[0].push_span(Span::from(format!("  {title}{room}")));
                for (line, bars) in lines[1..].iter_mut().zip(bars(&plot.points, each)) {
                    line.push_span(Span::styled(format!("  {bars}"), Style::new().fg(Color::Cyan)));
                }
            }
            self.lines.append(&mut lines);
        }
    }

    /// Breaks words into lines behind `name`; later lines begin below the first word.
    fn wrap(&mut self, name: Line<'static>, words: &str, style: Style) {
        let indent = name.width().min(self.width / 2);
        let most = self.width.saturating_sub(indent).max(1);
        let mut parts = wrapped(&plain(words), most).into_iter();
        let mut first = name;
        first.push_span(Span::styled(parts.next().unwrap_or_default(), style));
        self.lines.push(first);
        for part in parts {
            self.lines.push(Line::from(vec![Span::from(" ".repeat(indent)), Span::styled(part, style)]));
        }
    }
}

fn width(words: &str) -> usize {
    Span::from(words).width()
}

/// The beginning of words that fits, with a mark where it was cut.
fn cut(words: &str, most: usize) -> String {
    if width(words) <= most {
        return words.to_owned();
    }
    let mut cut = String::new();
    for letter in words.chars() {
        cut.push(letter);
        if width(&cut) >= most {
            cut.pop();
            break;
        }
    }
    cut + "…"
}

/// Lines of at most so many columns, broken between words where that is possible.
fn wrapped(words: &str, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words.split(' ') {
        if !line.is_empty() && width(&line) + 1 + width(word) > most {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        for letter in word.chars() {
            if !line.is_empty() && width(&line) + width(letter.encode_utf8(&mut [0; 4])) > most {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
    }
    lines.push(line);
    lines
}

/// The lines of a curve, the highest first.
fn bars(points: &[Point], width: usize) -> Vec<String> {
    let newest = &points[points.len().saturating_sub(width)..];
    let most = newest.iter().filter_map(|point| point.value).fold(0.0_f64, f64::max);
    let height = |value: f64| match most > 0.0 {
        // What is not nothing is visible.
        true => ((value / most * (BARS * 8) as f64).round() as usize).max(usize::from(value > 0.0)),
        false => 0,
    };
    let before = " ".repeat(width - newest.len());
    let line = |above: usize| {
        let below = (BARS - 1 - above) * 8;
        let cell = |point: &Point| match point.value {
            Some(value) => PARTS[height(value).saturating_sub(below).min(8)],
            None if below == 0 => GAP,
            None => " ",
        };
        before.clone() + &newest.iter().map(cell).collect::<String>()
    };
    (0..BARS).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_below_their_first_and_long_ones_are_broken() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("a bbbbbbb c", 3), ["a", "bbb", "bbb", "b c"]);
        assert_eq!(wrapped("", 3), [""]);
        let mut sheet = Sheet::new(40);
        sheet.line("problems", "one two three four five six seven", Style::new());
        let lines: Vec<_> = sheet.lines().iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["  problems     one two three four five", "               six seven"]);
    }

    #[test]
    fn a_curve_has_gaps_and_is_as_high_as_its_highest_value() {
        let values = [Some(0.0), Some(1.0), None, Some(12.0), Some(24.0)];
        let points = values.map(|value| Point { age: 0.0, value });
        assert_eq!(bars(&points, 7), ["      █", "     ▄█", "   ▁·██"]);
        assert_eq!(bars(&points, 2), [" █", "▄█", "██"]);
        assert_eq!(bars(&[], 3), ["   ", "   ", "   "]);
    }

    #[test]
    fn a_table_fits_its_width_and_counts_what_it_leaves_out() {
        let rows = (0..ROWS_MAX + 7).map(|n| vec![format!("topic-of-a-long-name-{n}"), n.to_string()]).collect();
        let table = Table { id: "t", title: "T", note: String::new(), head: &["topic", "lag"], rows, numbers: 1 };
        let mut sheet = Sheet::new(20);
        sheet.table(&table);
        let lines: Vec<_> = sheet.lines().iter().map(ToString::to_string).collect();
        assert!(lines.iter().all(|line| width(line) <= 20), "{lines:?}");
        assert_eq!(lines[3], "  topic-of-a-l…    0");
        assert!(lines.last().unwrap().ends_with("and 7 more"), "{lines:?}");
    }
}
