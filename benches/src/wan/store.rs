//! Results as they come: a line of JSON for each trial, appended, so that a bench that was stopped goes on where it was.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cell::Contestant;
use super::figures::Measured;

/// The lines.
const FILE: &str = "results.jsonl";

/// Which trial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) cell: String,
    pub(crate) contestant: Contestant,
    pub(crate) seed: u64,
    /// How long a steady cell was measured.
    pub(crate) seconds: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(flatten)]
    pub(crate) key: Key,
    /// How often it was run: again where the emulator was late.
    pub(crate) attempts: u32,
    /// Why there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

/// A directory of results.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    lines: Vec<Line>,
    file: File,
}

impl Store {
    /// Opens a directory, made where it is missing, and reads what is there.
    ///
    /// # Errors
    /// A line that is no result: it is another program's file, or another version's.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            text => text.unwrap_or_default(),
        };
        // What was being written when the power went is not a line.
        let (whole, torn) = text.rsplit_once('\n').unwrap_or(("", &text));
        let parse = |(number, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}: no result", path.display(), number + 1))
        };
        let lines = whole.lines().enumerate().map(parse).collect::<Result<Vec<Line>>>()?;
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        if !torn.is_empty() {
            file.set_len((text.len() - torn.len()) as u64)?;
        }
        Ok(Self { dir: dir.to_owned(), lines, file })
    }

    /// Keeps a result.
    pub(crate) fn append(&mut self, line: Line) -> Result<()> {
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).context("cannot keep a result")?;
        self.lines.push(line);
        Ok(())
    }

    /// Trials that need not be run again: an error is no result.
    pub(crate) fn done(&self) -> HashSet<Key> {
        self.lines.iter().filter(|line| line.error.is_none()).map(|line| line.key.clone()).collect()
    }

    /// All lines; where a trial was run again, its last one.
    pub(crate) fn results(&self) -> Vec<&Line> {
        let mut seen = HashSet::new();
        let mut last: Vec<&Line> = self.lines.iter().rev().filter(|line| seen.insert(&line.key)).collect();
        last.reverse();
        last
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Figure;
    use super::*;

    fn line(seed: u64, error: Option<&str>) -> Line {
        let key = Key { cell: "300-20ms-0pct".to_owned(), contestant: Contestant::TcpBbr, seed, seconds: 15 };
        let mut measured = Measured::default();
        measured.figures.insert(Figure::Goodput, 1.5e8);
        Line { key, attempts: 1, error: error.map(str::to_owned), measured }
    }

    #[test]
    fn what_was_measured_is_there_after_a_restart_and_what_failed_is_due_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(line(1, None)).unwrap();
        store.append(line(2, Some("no record has arrived"))).unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.results(), [&line(1, None), &line(2, Some("no record has arrived"))]);
        assert_eq!(store.done(), HashSet::from([line(1, None).key]));
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_next_one_stands_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap().append(line(1, None)).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"cell\": \"300")).unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(line(2, None)).unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().results().len(), 2);
    }

    #[test]
    fn a_trial_that_was_run_again_counts_as_it_was_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(line(1, Some("an end left by itself"))).unwrap();
        store.append(line(1, None)).unwrap();
        assert_eq!(store.results(), [&line(1, None)]);
    }

    #[test]
    fn a_file_of_something_else_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"what\": 1}\n").unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("results.jsonl:1"), "{error}");
    }
}
