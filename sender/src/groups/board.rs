//! Board of groups: what sessions have read of them, for reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use tokio::sync::Mutex;

use super::reading::{GroupReading, Reading};

/// Groups as a sender knows them.
#[derive(Debug, Default)]
pub(crate) struct GroupBoard {
    known: Lock<Known>,
    /// Held by the one thread that reads groups: one that hangs keeps later ones from hanging too.
    pub(crate) reader: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Known {
    /// True if the configuration names groups.
    on: bool,
    /// True if the receiver of this session does not know the messages.
    unsupported: bool,
    reading: Option<Arc<Reading>>,
    /// Error of the last attempt, if it failed.
    failed: Option<String>,
}

/// Names of the groups whose offsets are carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CarriedGroups {
    /// They have not been read yet.
    Unknown,
    /// Those of the newest reading; none if no groups are carried.
    Known(BTreeSet<String>),
}

/// Consumer groups whose offsets are carried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupsStatus {
    /// Carrying of groups: true if `groups.include` names some.
    pub on: bool,
    /// Number of matching groups at the source; `null` before they were read.
    pub matched: Option<usize>,
    /// Number of their offsets in carried topics; `null` before they were read.
    pub offsets: Option<usize>,
    /// Time since the reading that was sent last began, in seconds; `null` before that.
    pub age_seconds: Option<f64>,
    /// Names in `groups.include` that the source does not have: groups that do not exist, and share groups.
    pub unmatched: Vec<String>,
    /// Number of offsets that are not carried: beyond a limit, or with longer metadata than 4,096 bytes.
    pub left_out: usize,
}

/// Consumer group of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupStatus {
    /// Name of the group.
    pub group: String,
    /// Membership: true if it has members at the source.
    pub has_members: bool,
    /// Number of its offsets in carried topics.
    pub offsets: usize,
}

impl GroupBoard {
    /// Notes what a session has to do.
    pub(crate) fn set_wanted(&self, on: bool, supported: bool) {
        let mut known = self.known.lock();
        known.on = on;
        known.unsupported = on && !supported;
        if !on || !supported {
            known.reading = None;
            known.failed = None;
        }
    }

    /// Notes a reading that was sent, and logs its problems if they are new.
    pub(crate) fn set_reading(&self, reading: Arc<Reading>) {
        let mut known = self.known.lock();
        let before = known.reading.as_ref();
        for trouble in &reading.trouble {
            if before.is_none_or(|before| !before.trouble.contains(trouble)) {
                tracing::warn!(trouble, "not all consumer groups can be read");
            }
        }
        if known.failed.take().is_some() {
            tracing::info!("consumer groups of the source can be read again");
        }
        known.reading = Some(reading);
    }

    /// Notes that the groups could not be read.
    pub(crate) fn set_failed(&self, error: String) {
        let mut known = self.known.lock();
        if known.failed.is_none() {
            tracing::warn!(error, "consumer groups of the source cannot be read; records are carried meanwhile");
        }
        known.failed = Some(error);
    }

    /// Returns problems, in sentences.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let known = self.known.lock();
        let unsupported = known
            .unsupported
            .then(|| "groups: the receiver is of an earlier version, which does not know them: upgrade it".to_owned());
        let failed = known.failed.iter().map(|error| format!("groups: {error}"));
        let read = known.reading.iter().flat_map(|reading| reading.trouble.iter().cloned());
        unsupported.into_iter().chain(failed).chain(read).collect()
    }

    pub(crate) fn status(&self) -> GroupsStatus {
        let known = self.known.lock();
        let reading = known.reading.as_ref();
        GroupsStatus {
            on: known.on,
            matched: reading.map(|reading| reading.groups.len()),
            offsets: reading.map(|reading| reading.offsets()),
            age_seconds: reading.map(|reading| Instant::now().duration_since(reading.began).as_secs_f64()),
            unmatched: reading.map(|reading| reading.unmatched.clone()).unwrap_or_default(),
            left_out: reading.map_or(0, |reading| reading.left_out),
        }
    }

    /// Returns the names of the groups that are carried.
    pub(crate) fn carried(&self) -> CarriedGroups {
        let known = self.known.lock();
        match &known.reading {
            Some(reading) => CarriedGroups::Known(reading.groups.keys().map(ToString::to_string).collect()),
            None if known.on && !known.unsupported => CarriedGroups::Unknown,
            None => CarriedGroups::Known(BTreeSet::new()),
        }
    }

    /// Returns each group.
    /// Error: a sentence that says why none is known.
    pub(crate) fn groups(&self) -> Result<Vec<GroupStatus>, String> {
        let known = self.known.lock();
        let Some(reading) = &known.reading else {
            return Err(match known.on {
                false => "this sender carries no groups: name them in `groups.include`".to_owned(),
                true => {
                    "the groups of the source have not been read yet; see the problems in `causeway status`".to_owned()
                }
            });
        };
        let status = |(name, group): (&Arc<str>, &GroupReading)| GroupStatus {
            group: name.to_string(),
            has_members: group.has_members,
            offsets: group.offsets.len(),
        };
        Ok(reading.groups.iter().map(status).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_receiver_is_named_and_gets_no_groups() {
        let board = GroupBoard::default();
        board.set_wanted(true, false);
        assert!(board.trouble()[0].contains("earlier version") && board.status().matched.is_none());
        board.set_wanted(false, false);
        assert_eq!((board.trouble(), board.status()), (Vec::new(), GroupsStatus::default()));
    }

    #[test]
    fn a_failure_keeps_what_was_read_and_its_age() {
        let board = GroupBoard::default();
        board.set_wanted(true, true);
        assert!(board.groups().unwrap_err().contains("not been read yet"));
        assert_eq!(board.carried(), CarriedGroups::Unknown, "no groups would be another answer");
        board.set_reading(Arc::new(Reading::empty(Instant::now())));
        board.set_failed("no answer".to_owned());
        assert_eq!(board.trouble(), ["groups: no answer"]);
        assert!(board.status().age_seconds.is_some() && board.status().matched == Some(0));
        board.set_reading(Arc::new(Reading::empty(Instant::now())));
        assert!(board.trouble().is_empty());
    }
}
