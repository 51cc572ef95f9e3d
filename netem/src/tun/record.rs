//! The record of the WAN that is up: which process holds it, and where its namespaces are.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where it lies unless [`ELSEWHERE`] says: gone after a restart of the machine, as the WAN is.
const DIRECTORY: &str = "/run/causeway-netem";

/// Names another directory, for a second WAN beside the first.
const ELSEWHERE: &str = "CAUSEWAY_NETEM_RECORD";

/// Which process holds the WAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its id.
    pub(super) holder: u32,
    /// When it was started, in the kernel's ticks: tells it from a later process of the same id.
    started: u64,
    /// Its descriptors of the source's and the target's namespace.
    pub(super) namespaces: [i32; 2],
}

impl Record {
    /// Of a running holder.
    pub(super) fn of(holder: u32, namespaces: [i32; 2]) -> io::Result<Self> {
        let started = started(holder).ok_or_else(|| io::Error::other("the holder has ended"))?;
        Ok(Self { holder, started, namespaces })
    }

    /// The one that was written last; a file that is no record counts as none, and is overwritten.
    pub(super) fn read() -> Option<Self> {
        serde_json::from_slice(&fs::read(path("record.json")).ok()?).ok()
    }

    pub(super) fn write(&self) -> io::Result<()> {
        fs::create_dir_all(directory())?;
        let _ = fs::remove_file(path("report"));
        fs::write(path("record.json"), serde_json::to_vec(self)?)
    }

    /// Whether the holder still runs.
    pub(super) fn is_alive(&self) -> bool {
        started(self.holder) == Some(self.started)
    }

    /// Removes everything; returns where it lay.
    pub(super) fn remove(&self) -> io::Result<PathBuf> {
        for file in ["record.json", "report"] {
            match fs::remove_file(path(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Whoever named another directory may keep other things there.
        let _ = fs::remove_dir(directory());
        Ok(directory())
    }

    pub(super) fn leave_report(report: &str) -> io::Result<()> {
        fs::write(path("report"), report)
    }

    pub(super) fn take_report() -> Option<String> {
        fs::read_to_string(path("report")).ok()
    }
}

fn directory() -> PathBuf {
    env::var_os(ELSEWHERE).map_or_else(|| DIRECTORY.into(), PathBuf::from)
}

fn path(file: &str) -> PathBuf {
    directory().join(file)
}

/// When a process was started; nothing if there is none, or only its remains.
fn started(process: u32) -> Option<u64> {
    parse_started(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// proc_pid_stat(5): the state is the first and the start time the 20th field after the name, which stands in
/// brackets and may hold some itself.
fn parse_started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_id() {
        let own = started(std::process::id()).unwrap();
        let record = Record { holder: std::process::id(), started: own, namespaces: [3, 4] };
        assert!(record.is_alive());
        assert!(!Record { started: own + 1, ..record }.is_alive());
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_started(stat), Some(4711));
        assert_eq!(parse_started(&stat.replace(" S ", " Z ")), None);
    }
}
