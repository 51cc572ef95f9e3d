//! How the page draws the parts of an overview.

use maud::{Markup, html};

use crate::overview::{Answer, ROWS_MAX, Station, Table, percent, plain};

impl Answer {
    pub(super) fn shown(&self) -> Markup {
        // What a screen reader says when it changes. Values that change every second are not in it.
        let say = match self.problems.len() {
            0 => format!("The link is {}", self.level.word()),
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        };
        html! {
            section id="answer" class=(self.level.word()) data-say=(say) aria-label="Answer" {
                dl {
                    div { dt { "Keeping up" } dd { (self.keeping_up) } }
                    div { dt { "Limited by" } dd { (self.limited_by) } }
                    div { dt { "Problems" } dd { (lines(&self.problems, "none")) } }
                    div { dt { "Action" } dd { (lines(&self.actions, self.no_action())) } }
                }
            }
        }
    }
}

/// A line for each sentence, bounded, or `none`.
pub(super) fn lines(sentences: &[String], none: &str) -> Markup {
    html! {
        @if sentences.is_empty() { (none) } @else {
            ul {
                @for sentence in sentences.iter().take(ROWS_MAX) { li { (plain(sentence)) } }
                (more_than(sentences.len(), ROWS_MAX, "li"))
            }
        }
    }
}

/// The number of rows that are not shown.
pub(super) fn more_than(all: usize, shown: usize, element: &str) -> Markup {
    let more = all.saturating_sub(shown);
    let words = format!("and {more} more");
    html! {
        @if more > 0 {
            @if element == "li" { li.more { (words) } } @else { p.more { (words) } }
        }
    }
}

/// The link as a picture.
pub(super) fn way(stations: &[Station]) -> Markup {
    html! {
        section id="way" aria-labelledby="way-head" {
            h2 #way-head { "The way of a record" }
            ol {
                @for station in stations {
                    li class=(station.level.word()) {
                        h3 { (station.name) " " span.level { (station.level.word()) } }
                        p.what { (plain(&station.what)) }
                        @if let Some((name, part)) = station.used {
                            meter min="0" max="1" high="0.9" value=(format!("{part:.3}")) aria-label=(name) { (percent(part)) }
                        }
                        dl { @for (name, value) in &station.facts { div { dt { (name) } dd { (plain(value)) } } } }
                    }
                }
            }
        }
    }
}

impl Table {
    pub(super) fn shown(&self) -> Markup {
        html! {
            section id=(self.id) aria-labelledby=(format!("{}-head", self.id)) {
                h2 id=(format!("{}-head", self.id)) { (self.title) }
                @if !self.note.is_empty() { p.note { (plain(&self.note)) } }
                @if !self.rows.is_empty() {
                    div.scroll role="region" tabindex="0" aria-labelledby=(format!("{}-head", self.id)) {
                        table {
                            thead { tr { @for (n, cell) in self.head.iter().enumerate() { th scope="col" class=[self.class(n)] { (cell) } } } }
                            tbody { @for row in self.rows.iter().take(ROWS_MAX) { (self.row(row)) } }
                        }
                    }
                }
                (more_than(self.rows.len(), ROWS_MAX, "p"))
            }
        }
    }

    fn class(&self, column: usize) -> Option<&'static str> {
        (column >= self.numbers).then_some("number")
    }

    fn row(&self, row: &[String]) -> Markup {
        html! {
            tr {
                @for (n, cell) in row.iter().enumerate() {
                    @if n == 0 { th scope="row" { (plain(cell)) } } @else { td class=[self.class(n)] { (plain(cell)) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::Level;

    #[test]
    fn a_long_table_is_cut_and_the_rest_counted() {
        let rows = (0..ROWS_MAX + 7).map(|n| vec![format!("topic-{n}"), n.to_string()]).collect();
        let table = Table { id: "t", title: "Topics", note: String::new(), head: &["topic", "lag"], rows, numbers: 1 };
        let shown = table.shown().into_string();
        assert!(shown.contains("topic-49<") && !shown.contains("topic-50<") && shown.contains("and 7 more"), "{shown}");
        let none = Table { id: "t", title: "Topics", note: "none yet".into(), head: &[], rows: Vec::new(), numbers: 1 };
        assert!(!none.shown().into_string().contains("<table"));
    }

    #[test]
    fn text_from_elsewhere_is_escaped() {
        let evil = r#"<script>alert("1")</script>"#;
        let answer = Answer {
            level: Level::Wrong,
            keeping_up: evil.into(),
            limited_by: evil.into(),
            problems: vec![evil.into()],
            actions: vec![evil.into()],
        };
        let station = Station {
            name: "Source",
            level: Level::Good,
            what: evil.into(),
            facts: vec![("a", evil.into())],
            used: None,
        };
        let table = Table {
            id: "t",
            title: "T",
            note: evil.into(),
            head: &["a"],
            rows: vec![vec![evil.into(), evil.into()]],
            numbers: 1,
        };
        for shown in [answer.shown(), way(&[station]), table.shown()] {
            let shown = shown.into_string();
            assert!(!shown.contains("<script") && shown.contains("&lt;script&gt;"), "{shown}");
        }
    }
}
