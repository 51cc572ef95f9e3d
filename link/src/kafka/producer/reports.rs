//! What became of the records of one transaction.

use std::collections::HashMap;
use std::ptr;

use rdkafka_sys as sys;
use wire::ids::Offset;

use super::super::client::{Event, lossy, reason_of};
use super::super::error::condemns_record;

/// A topic handle's address and a partition's number.
type Origin = (usize, i32);

/// Delivery reports, added up.
#[derive(Debug, Default)]
pub(super) struct Reports {
    count: u64,
    ends: HashMap<Origin, Offset>,
    first_bad: Option<BadReport>,
}

/// The report, or the instance's own error, that ended a transaction.
#[derive(Debug, Clone)]
pub(super) struct BadReport {
    pub(super) code: i32,
    pub(super) reason: String,
    /// `None` for an error of the whole instance.
    pub(super) origin: Option<Origin>,
}

impl Reports {
    /// How many records have been reported.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn first_bad(&self) -> Option<&BadReport> {
        self.first_bad.as_ref()
    }

    /// The highest offset of each partition; forgotten here.
    pub(super) fn take_ends(&mut self) -> impl Iterator<Item = (Origin, Offset)> + use<> {
        std::mem::take(&mut self.ends).into_iter()
    }

    pub(super) fn take(&mut self, event: &Event) {
        match event.kind() {
            sys::RD_KAFKA_EVENT_DR => self.take_reports(event),
            sys::RD_KAFKA_EVENT_ERROR => {
                let Some((code, reason)) = event.error() else {
                    return;
                };
                // SAFETY: the event is live.
                if unsafe { sys::rd_kafka_event_error_is_fatal(event.raw()) } != 0 {
                    self.bad(BadReport { code, reason, origin: None });
                } else {
                    tracing::debug!(code, "kafka client: {reason}");
                }
            }
            _ => {}
        }
    }

    fn take_reports(&mut self, event: &Event) {
        loop {
            // SAFETY: the event is live, and the message as long as it; fields are read in place.
            unsafe {
                let message = sys::rd_kafka_event_message_next(event.raw());
                if message.is_null() {
                    return;
                }
                self.count += 1;
                let origin = ((*message).rkt.addr(), (*message).partition);
                // As a number: a newer broker's code may have no name in the bindings' enum.
                match ptr::addr_of!((*message).err).cast::<i32>().read() {
                    0 => {
                        let end = self.ends.entry(origin).or_insert(Offset(-1));
                        *end = (*end).max(Offset((*message).offset));
                    }
                    code => {
                        // Not `rd_kafka_message_errstr`, which takes a report's payload for its reason.
                        let reason = match lossy(sys::rd_kafka_message_produce_errstr(message)) {
                            said if said.is_empty() => reason_of(code),
                            said => format!("{} ({said})", reason_of(code)),
                        };
                        self.bad(BadReport { code, reason, origin: Some(origin) });
                    }
                }
            }
        }
    }

    /// The first counts: those after it are mostly its consequences. But a record that is refused for
    /// good is named even where its neighbours were given up first.
    fn bad(&mut self, report: BadReport) {
        let weaker = |first: &BadReport| condemns_record(report.code) && !condemns_record(first.code);
        if self.first_bad.as_ref().is_none_or(weaker) {
            self.first_bad = Some(report);
        }
    }
}
