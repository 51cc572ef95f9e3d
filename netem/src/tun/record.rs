//! The record of the WAN that is up: the process that holds it, and the descriptors of its namespaces.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Directory of the record, empty after a restart of the machine, unless [`DIRECTORY_VARIABLE`] names another.
const DIRECTORY: &str = "/run/causeway-netem";
/// Environment variable that names another directory, for a second WAN next to the first.
const DIRECTORY_VARIABLE: &str = "CAUSEWAY_NETEM_RECORD";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) holder: u32,
    /// Start time of the holder, in the kernel's ticks. It distinguishes the holder from a later process of the same id.
    started: u64,
    /// Descriptors of the source's and the target's namespace in the holder.
    pub(super) namespaces: [i32; 2],
}

impl Record {
    pub(super) fn of(holder: u32, namespaces: [i32; 2]) -> io::Result<Self> {
        let started = started(holder).ok_or_else(|| io::Error::other("the holder has ended"))?;
        Ok(Self { holder, started, namespaces })
    }

    /// Reads the last record that was written. A file that is not a record counts as none and is overwritten.
    pub(super) fn read() -> Option<Self> {
        serde_json::from_slice(&fs::read(path("record.json")).ok()?).ok()
    }

    pub(super) fn write(&self) -> io::Result<()> {
        fs::create_dir_all(directory())?;
        let _ = fs::remove_file(path("report"));
        fs::write(path("record.json"), serde_json::to_vec(self)?)
    }

    pub(super) fn is_alive(&self) -> bool {
        started(self.holder) == Some(self.started)
    }

    /// Removes the record and the report. Returns the directory in which they were.
    pub(super) fn remove(&self) -> io::Result<PathBuf> {
        for file in ["record.json", "report"] {
            match fs::remove_file(path(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // The directory may contain other files, if the user chose it.
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
    env::var_os(DIRECTORY_VARIABLE).map_or_else(|| DIRECTORY.into(), PathBuf::from)
}

fn path(file: &str) -> PathBuf {
    directory().join(file)
}

/// Returns when a process was started; none if it does not exist or is a zombie.
fn started(process: u32) -> Option<u64> {
    parse_started(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Returns the start time of a proc_pid_stat(5) line. After the name, the state is the first field and the start time
/// the 20th. The name is in parentheses and may contain some itself.
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
    fn a_process_differs_from_a_later_one_with_the_same_id() {
        let own = started(std::process::id()).unwrap();
        let record = Record { holder: std::process::id(), started: own, namespaces: [3, 4] };
        assert!(record.is_alive());
        assert!(!Record { started: own + 1, ..record }.is_alive());
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_started(stat), Some(4711));
        assert_eq!(parse_started(&stat.replace(" S ", " Z ")), None);
    }
}
