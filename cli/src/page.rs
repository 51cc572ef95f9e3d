//! The page of the admin port: what `causeway status` says, drawn for people. A script fetches the part that changes
//! every second; without it the browser loads the document again. Every text goes through maud, which escapes it.

mod chart;
mod cost;
mod file;
mod halts;
mod parts;
mod receiver;
mod sender;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use service::lock::Lock;

use crate::answers::Answers;
use crate::history::{History, INTERVAL, Sample};
use crate::status::lifts::quoted;

/// Time for which all viewers get the same drawing. The status of thousands of partitions takes locks of the data path.
const DRAWN_FOR: Duration = Duration::from_millis(500);

/// A process that has a page.
pub(crate) trait Shown: Send + Sync + 'static {
    /// Counters of this moment, for the curves, and the records of each link of a receiver, for their rates.
    fn sample(&self) -> (Sample, Vec<(String, u64)>);

    /// Title of the document, and the part of it that changes.
    fn draw(&self, around: &Around<'_>) -> (String, Markup);
}

/// What a page needs besides the status.
pub(crate) struct Around<'a> {
    pub(crate) history: &'a History,
    /// Options of a command that name this process, with a space before them.
    pub(crate) options: &'a str,
}

/// The page of one process.
pub(crate) struct Page<R> {
    process: Answers<R>,
    history: Lock<History>,
    started: Instant,
    options: String,
    drawn: Lock<Option<Drawn>>,
}

/// What viewers see of a moment.
#[derive(Clone)]
struct Drawn {
    at: Instant,
    title: String,
    sections: Markup,
    time: String,
}

impl<R> Page<R>
where
    Answers<R>: Shown,
{
    /// Makes the page of the process that runs with `file`.
    pub(crate) fn new(report: Arc<R>, file: &Path) -> Self {
        // A relative path would be wrong in the shell of the person who copies a command.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let options = format!(" --config {}", quoted(&file.display().to_string()));
        let history = Lock::default();
        Self { process: Answers(report), history, started: Instant::now(), options, drawn: Lock::default() }
    }

    fn drawn(&self) -> Drawn {
        let mut drawn = self.drawn.lock();
        if let Some(drawn) = drawn.as_ref().filter(|drawn| drawn.at.elapsed() < DRAWN_FOR) {
            return drawn.clone();
        }
        let around = Around { history: &self.history.lock(), options: &self.options };
        let (title, sections) = self.process.draw(&around);
        let time = Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        drawn.insert(Drawn { at: Instant::now(), title, sections, time }).clone()
    }

    /// Takes samples for the curves, for as long as the port answers.
    pub(crate) async fn keep_history(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (sample, links) = self.process.sample();
            let at = self.started.elapsed();
            let mut history = self.history.lock();
            history.handle(at, sample);
            history.handle_links(at, links);
        }
    }
}

impl<R: Send + Sync + 'static> service::admin::Page for Page<R>
where
    Answers<R>: Shown,
{
    fn document(&self, has_login: bool) -> String {
        let drawn = self.drawn();
        document(&drawn.title, &live(&drawn, has_login)).into_string()
    }

    fn live(&self, has_login: bool) -> String {
        live(&self.drawn(), has_login).into_string()
    }

    fn file(&self, name: &str) -> Option<(&'static str, &'static str)> {
        file::named(name)
    }
}

fn live(drawn: &Drawn, has_login: bool) -> Markup {
    html! {
        (drawn.sections)
        footer {
            p {
                "As of " time id="as-of" { (drawn.time) } ". " code { "causeway status --json" }
                " has every value; its fields are in " code { "docs/reference/status.md" } "."
            }
            @if has_login { form method="post" action="/logout" { button { "Log out" } } }
        }
    }
}

fn document(title: &str, sections: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href="/page/file/style.css";
                link rel="icon" href="/page/file/icon.svg";
                script src="/page/file/page.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                a.skip href="#page" { "Skip to the answer" }
                p #stale role="alert" hidden { "No answer from the process since " span {} ". What you see is from then." }
                p #said .unseen role="status" {}
                div #page { (sections) }
            }
        }
    }
}
