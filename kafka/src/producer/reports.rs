//! Delivery reports of the records of one transaction.

use std::collections::HashMap;
use std::ptr;

use rdkafka_sys as sys;
use wire::ids::Offset;

use super::refusal_reason::refusal_reason;
use super::refused_batch::{RefusedBatch, RefusedRecord};
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
    /// Refusals of records of other partitions, which the brokers name.
    also_named: Vec<BadReport>,
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
    /// Source offsets of the refused records, if the broker names them.
    pub(super) named: Vec<Offset>,
}

impl BadReport {
    /// Adds a later report of the same refusal.
    fn merge(&mut self, mut later: Self) {
        self.offsets.0 = self.offsets.0.min(later.offsets.0);
        self.offsets.1 = self.offsets.1.max(later.offsets.1);
        self.named.append(&mut later.named);
    }

    /// Returns whether both are one refusal: of records that are named, or of batches, and for the same reason.
    fn is_same(&self, other: &Self) -> bool {
        let same_kind = self.named.is_empty() == other.named.is_empty() && self.code == other.code;
        self.origin == other.origin && same_kind
    }
}

impl Reports {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn first_bad(&self) -> Option<&BadReport> {
        self.first_bad.as_ref()
    }

    /// Returns the refusals of records of other partitions than that of the first bad report.
    pub(super) fn also_named(&self) -> impl Iterator<Item = &BadReport> {
        let first = self.first_bad.as_ref().and_then(|bad| bad.origin);
        self.also_named.iter().filter(move |report| report.origin != first)
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
                    let offsets = (Offset(-1), Offset(-1));
                    self.bad(BadReport { code, reason, origin: None, offsets, bytes: 0, named: Vec::new() });
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
        let mut batch = RefusedBatch::default();
        let mut bad: Option<BadReport> = None;
        loop {
            // SAFETY: the event is live. It owns the message until it is destroyed, and the message owns its key and holds
            // its topic. Fields are read in place and copied. Neither the payload, which may be in a frame, nor
            // librdkafka's text about the record is read; of the text, only the address is used.
            unsafe {
                let message = sys::rd_kafka_event_message_next(event.raw());
                if message.is_null() {
                    break;
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
                        let ends = self.ends.entry(origin).or_default();
                        ends.offsets.add(offset);
                        ends.count += 1;
                        ends.broker = broker;
                    }
                    code => {
                        let has_key = !(*message).key.is_null();
                        let reason = refusal_reason(code, has_key);
                        // The opaque number from `record::enqueue`.
                        let offset = Offset((*message)._private.addr() as i64);
                        let text = sys::rd_kafka_message_produce_errstr(message).addr();
                        batch.add(code, RefusedRecord { offset, has_key, text });
                        let offsets = (offset, offset);
                        let named = Vec::new();
                        let report = BadReport { code, reason, origin: Some(origin), offsets, bytes: size, named };
                        match &mut bad {
                            Some(bad) if bad.is_same(&report) => bad.merge(report),
                            Some(bad) if refusal(bad.code) >= refusal(report.code) => {}
                            bad => *bad = Some(report),
                        }
                    }
                }
            }
        }
        if let Some(mut bad) = bad {
            let named = batch.named();
            if let Some(first) = named.first() {
                bad.reason = refusal_reason(bad.code, first.has_key);
            }
            bad.named = named.iter().map(|record| record.offset).collect();
            self.bad(bad);
        }
        bytes
    }

    /// Keeps the first bad report, because later ones are mostly its consequences, and further ones that name records. A
    /// permanent refusal replaces one that is not.
    fn bad(&mut self, report: BadReport) {
        let known = self.first_bad.iter_mut().chain(&mut self.also_named);
        if let Some(same) = known.into_iter().find(|known| known.is_same(&report)) {
            same.merge(report);
            return;
        }
        let is_first = self.first_bad.as_ref().is_none_or(|first| refusal(first.code) < refusal(report.code));
        let other = if is_first { self.first_bad.replace(report) } else { Some(report) };
        self.also_named.extend(other.filter(|other| !other.named.is_empty()));
    }
}
