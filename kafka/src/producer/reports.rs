//! What became of the records of one transaction.

use std::collections::HashMap;
use std::ptr;

use rdkafka_sys as sys;
use wire::ids::Offset;

use super::super::client::{Event, lossy, reason_of};
use super::super::error::refusal;

/// A topic handle's address and a partition's number.
type Origin = (usize, i32);

/// Delivery reports, added up.
#[derive(Debug, Default)]
pub(super) struct Reports {
    count: u64,
    /// The lowest and the highest offset appended.
    ends: HashMap<Origin, (Offset, Offset)>,
    first_bad: Option<BadReport>,
}

/// The report, or the instance's own error, that ended a transaction.
#[derive(Debug, Clone)]
pub(super) struct BadReport {
    pub(super) code: i32,
    pub(super) reason: String,
    /// `None` for an error of the whole instance.
    pub(super) origin: Option<Origin>,
    /// The lowest and the highest source offset among the partition's records that are refused alike: a batch,
    /// or, if they are the same, that record by itself.
    pub(super) offsets: (Offset, Offset),
}

impl Reports {
    /// How many records have been reported.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn first_bad(&self) -> Option<&BadReport> {
        self.first_bad.as_ref()
    }

    /// The lowest and the highest offset of each partition; forgotten here.
    pub(super) fn take_ends(&mut self) -> impl Iterator<Item = (Origin, (Offset, Offset))> + use<> {
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
                    self.bad(BadReport { code, reason, origin: None, offsets: (Offset(-1), Offset(-1)) });
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
                        let offset = Offset((*message).offset);
                        let ends = self.ends.entry(origin).or_insert((offset, offset));
                        *ends = (ends.0.min(offset), ends.1.max(offset));
                    }
                    code => {
                        // Not `rd_kafka_message_errstr`, which takes a report's payload for its reason.
                        let reason = match lossy(sys::rd_kafka_message_produce_errstr(message)) {
                            said if said.is_empty() => reason_of(code),
                            said => format!("{} ({said})", reason_of(code)),
                        };
                        // What the record was sent with, see `record::enqueue`.
                        let source = Offset((*message)._private.addr() as i64);
                        self.bad(BadReport { code, reason, origin: Some(origin), offsets: (source, source) });
                    }
                }
            }
        }
    }

    /// The first counts: those after it are mostly its consequences. But a record that is refused for
    /// good is named even where its neighbours were given up first.
    fn bad(&mut self, report: BadReport) {
        let verdict = refusal(report.code);
        match &mut self.first_bad {
            Some(first) if first.origin == report.origin && refusal(first.code) == verdict => {
                first.offsets.0 = first.offsets.0.min(report.offsets.0);
                first.offsets.1 = first.offsets.1.max(report.offsets.1);
            }
            Some(first) if refusal(first.code) >= verdict => {}
            first => *first = Some(report),
        }
    }
}
