//! Delivery reports of the records of one transaction.

use std::collections::HashMap;
use std::ptr;

use rdkafka_sys as sys;
use wire::ids::Offset;

use super::refusal_reason::refusal_reason;
use super::sent::{Ends, Origin};
use crate::client::Event;
use crate::error::refusal;

/// Sum of the delivery reports of one transaction.
#[derive(Debug, Default)]
pub(super) struct Reports {
    count: u64,
    /// Extent of what was appended to each partition.
    ends: HashMap<Origin, Ends>,
    first_bad: Option<BadReport>,
}

/// Report that ended a transaction, or the instance's fatal error.
#[derive(Debug, Clone)]
pub(super) struct BadReport {
    pub(super) code: i32,
    pub(super) reason: String,
    /// Partition of the record; `None` for an error of the whole instance.
    pub(super) origin: Option<Origin>,
    /// The lowest and the highest source offset of the partition's records with the same refusal: the batch.
    pub(super) offsets: (Offset, Offset),
    /// Bytes of the key and the value of the first of them.
    pub(super) bytes: u64,
}

impl Reports {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn first_bad(&self) -> Option<&BadReport> {
        self.first_bad.as_ref()
    }

    pub(super) fn ends(&self) -> &HashMap<Origin, Ends> {
        &self.ends
    }

    /// Removes and returns the extent of what was appended to each partition.
    pub(super) fn take_ends(&mut self) -> HashMap<Origin, Ends> {
        std::mem::take(&mut self.ends)
    }

    /// Takes an event. Returns the bytes of the keys and values that it reports.
    pub(super) fn take(&mut self, event: &Event) -> u64 {
        match event.kind() {
            sys::RD_KAFKA_EVENT_DR => return self.take_reports(event),
            sys::RD_KAFKA_EVENT_ERROR => {
                let Some((code, reason)) = event.error() else { return 0 };
                // SAFETY: the event is live.
                if unsafe { sys::rd_kafka_event_error_is_fatal(event.raw()) } != 0 {
                    self.bad(BadReport { code, reason, origin: None, offsets: (Offset(-1), Offset(-1)), bytes: 0 });
                } else {
                    tracing::debug!(code, "kafka client: {reason}");
                }
            }
            _ => {}
        }
        0
    }

    fn take_reports(&mut self, event: &Event) -> u64 {
        let mut bytes = 0;
        loop {
            // SAFETY: the event is live. It owns the message until it is destroyed, and the message owns its key and holds
            // its topic. Fields are read in place and copied. Neither the payload, which may be in a frame, nor
            // librdkafka's text about the record is read.
            unsafe {
                let message = sys::rd_kafka_event_message_next(event.raw());
                if message.is_null() {
                    return bytes;
                }
                self.count += 1;
                let size = ((*message).len + (*message).key_len) as u64;
                bytes += size;
                let origin = ((*message).rkt.addr(), (*message).partition);
                // Read as a number: a newer broker's code may have no name in the bindings' enum.
                match ptr::addr_of!((*message).err).cast::<i32>().read() {
                    0 => {
                        let offset = Offset((*message).offset);
                        let broker = Some(sys::rd_kafka_message_broker_id(message)).filter(|id| *id >= 0);
                        let new = Ends { first: offset, last: offset, count: 0, broker };
                        let ends = self.ends.entry(origin).or_insert(new);
                        ends.first = ends.first.min(offset);
                        ends.last = ends.last.max(offset);
                        ends.count += 1;
                        ends.broker = broker;
                    }
                    code => {
                        let reason = refusal_reason(code, !(*message).key.is_null());
                        // The opaque number from `record::enqueue`.
                        let source = Offset((*message)._private.addr() as i64);
                        let offsets = (source, source);
                        self.bad(BadReport { code, reason, origin: Some(origin), offsets, bytes: size });
                    }
                }
            }
        }
    }

    /// Keeps the first bad report, because later ones are mostly its consequences. A permanent refusal replaces one that
    /// is not: the other records of its batch may be reported first.
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
