//! Board of access control lists: what a session has read of them, for reports.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use tokio::sync::Mutex;
use wire::acl::AclResource;

use crate::source::acls::Reading;

/// Access control lists as a sender knows them.
#[derive(Debug, Default)]
pub(crate) struct AclBoard {
    known: Lock<Known>,
    /// Held by the one thread that reads rules: one that hangs keeps later ones from hanging too.
    pub(crate) reader: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Known {
    on: bool,
    /// True if the receiver of this session does not know the messages.
    unsupported: bool,
    /// Rules about topics and about groups, and the time of the last reading that succeeded.
    read: Option<Read>,
    /// Reason why the last reading is not the present one.
    failed: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    topics: usize,
    groups: usize,
    at: Instant,
}

/// Access control lists that the sender sends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AclsStatus {
    /// Sending of access control lists: true if `acls.follow` is.
    pub on: bool,
    /// Number of rules that apply to carried topics; `null` before they were read.
    pub topic_rules: Option<usize>,
    /// Number of rules that apply to carried groups; `null` before they were read.
    pub group_rules: Option<usize>,
    /// Time since they were last read, in seconds; `null` before that.
    pub age_seconds: Option<f64>,
}

impl AclBoard {
    /// Notes what a session has to do.
    pub(crate) fn set_wanted(&self, on: bool, supported: bool) {
        let mut known = self.known.lock();
        known.on = on;
        known.unsupported = on && !supported;
        if !on || !supported {
            known.read = None;
            known.failed = None;
        }
    }

    /// Notes a reading that the receiver has been sent.
    pub(crate) fn set_reading(&self, reading: &Reading) {
        let counts = reading.counts();
        let of = |resource| counts.get(&resource).copied().unwrap_or(0);
        let mut known = self.known.lock();
        if known.failed.take().is_some() {
            tracing::info!("access control lists of the source can be read again");
        }
        known.read = Some(Read { topics: of(AclResource::Topic), groups: of(AclResource::Group), at: Instant::now() });
    }

    /// Notes that the rules could not be read.
    pub(crate) fn set_failed(&self, reason: String) {
        let mut known = self.known.lock();
        if known.failed.as_ref() != Some(&reason) {
            tracing::warn!(reason, "access control lists of the source cannot be read; records are carried meanwhile");
        }
        known.failed = Some(reason);
    }

    /// Returns problems, in sentences.
    pub(crate) fn trouble(&self) -> Option<String> {
        let known = self.known.lock();
        let unsupported = || "the receiver is of an earlier version, which does not know them: upgrade it".to_owned();
        let reason = known.unsupported.then(unsupported).or_else(|| known.failed.clone())?;
        Some(format!("acls: {reason}"))
    }

    pub(crate) fn status(&self) -> AclsStatus {
        let known = self.known.lock();
        AclsStatus {
            on: known.on,
            topic_rules: known.read.map(|read| read.topics),
            group_rules: known.read.map(|read| read.groups),
            age_seconds: known.read.map(|read| Instant::now().duration_since(read.at).as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_receiver_is_named_and_gets_no_rules() {
        let board = AclBoard::default();
        board.set_wanted(true, false);
        assert!(board.trouble().unwrap().contains("acls: the receiver is of an earlier version"));
        board.set_wanted(false, false);
        assert_eq!((board.trouble(), board.status()), (None, AclsStatus::default()));
    }

    #[test]
    fn a_failure_keeps_what_was_read_and_its_age() {
        let board = AclBoard::default();
        board.set_wanted(true, true);
        board.set_reading(&Reading::default());
        board.set_failed("no answer".to_owned());
        assert_eq!(board.trouble().unwrap(), "acls: no answer");
        assert!(board.status().age_seconds.is_some() && board.status().topic_rules == Some(0));
        board.set_reading(&Reading::default());
        assert_eq!(board.trouble(), None);
    }
}
