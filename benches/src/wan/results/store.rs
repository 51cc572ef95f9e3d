//! The store of results: one line of JSON per trial, appended as it ends, so that a bench that was stopped can continue.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::figures::Measured;
use crate::wan::cell::Contestant;

const FILE: &str = "results.jsonl";

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TrialKey {
    pub(crate) cell: String,
    pub(crate) contestant: Contestant,
    pub(crate) seed: u64,
    /// Time for which a steady cell was measured, in seconds.
    pub(crate) seconds: u64,
}

/// Result of a trial, in its stored form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrialResult {
    #[serde(flatten)]
    pub(crate) key: TrialKey,
    /// Attempts at the trial, which is repeated while the emulator is late.
    pub(crate) attempts: u32,
    /// Error, if there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    results: Vec<TrialResult>,
    file: File,
}

impl Store {
    /// Opens a directory, which is created if it does not exist, and reads its results. Fails on a line that is not a
    /// result: the file is another program's, or of another version.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            text => text.unwrap_or_default(),
        };
        // A last line without its end was being written when the bench was killed.
        let (whole, torn) = text.rsplit_once('\n').unwrap_or(("", &text));
        let parse = |(number, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}: not a result", path.display(), number + 1))
        };
        let results = whole.lines().enumerate().map(parse).collect::<Result<Vec<TrialResult>>>()?;
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        if !torn.is_empty() {
            file.set_len((text.len() - torn.len()) as u64)?;
        }
        Ok(Self { dir: dir.to_owned(), results, file })
    }

    pub(crate) fn append(&mut self, result: TrialResult) -> Result<()> {
        let mut text = serde_json::to_string(&result)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).context("cannot store a result")?;
        self.results.push(result);
        Ok(())
    }

    /// Returns the trials that need not be run again, which are those without an error.
    pub(crate) fn done(&self) -> HashSet<TrialKey> {
        self.results.iter().filter(|result| result.error.is_none()).map(|result| result.key.clone()).collect()
    }

    /// Returns the last result of each trial.
    pub(crate) fn results(&self) -> Vec<&TrialResult> {
        let mut seen = HashSet::new();
        let mut last: Vec<_> = self.results.iter().rev().filter(|result| seen.insert(&result.key)).collect();
        last.reverse();
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::cell::Figure;

    fn line(seed: u64, error: Option<&str>) -> TrialResult {
        let key = TrialKey { cell: "300-20ms-0pct".to_owned(), contestant: Contestant::TcpBbr, seed, seconds: 15 };
        let mut measured = Measured::default();
        measured.figures.insert(Figure::Goodput, 1.5e8);
        TrialResult { key, attempts: 1, error: error.map(str::to_owned), measured }
    }

    #[test]
    fn results_survive_a_restart_and_failed_trials_are_due() {
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
    fn an_incomplete_last_line_is_cut_off() {
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
    fn the_last_result_of_a_repeated_trial_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(line(1, Some("an end stopped by itself"))).unwrap();
        store.append(line(1, None)).unwrap();
        assert_eq!(store.results(), [&line(1, None)]);
    }

    #[test]
    fn a_file_of_another_kind_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"what\": 1}\n").unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("results.jsonl:1"), "{error}");
    }
}
