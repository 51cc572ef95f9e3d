//! Offsets of partitions: the start, the end, and the first record at or after a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use wire::partition::Partition;

use super::call::{Call, Submitted, lent};
use super::describe;
use crate::catalog::{Answers, Isolation, NO_LEADER_NOW};
use crate::client::{Client, Event, reason_of};
use crate::error::{KafkaError, KafkaFault};
use crate::partitions::PartitionList;
use crate::text::{c_string, lossy};

/// Request for the log's start, as librdkafka writes it.
pub(super) const EARLIEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
/// Request for the log's end, as librdkafka writes it.
pub(super) const LATEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
/// Error code for a broker that disconnected before it answered.
const DISCONNECTED: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT as i32;
/// Most partitions in one request: librdkafka searches a request's list for each partition of the answer.
const PARTITIONS: usize = 500;
const DOING: &str = "list of offsets";
/// Time that one broker may take to answer. The partitions of the others wait for it meanwhile.
const BROKER_LIMIT: Duration = Duration::from_secs(5);
/// Time in which partitions that have a leader are asked for again: their leader has moved, or it disconnected.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two attempts.
const BACKOFF: Duration = Duration::from_millis(100);
/// Error code for a partition without a leader, as the client knows it.
const NO_LEADER: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32;

/// Answers of one request. Those that are not decided yet may be better in the next attempt.
struct Offsets<'a> {
    client: &'a Arc<Client>,
    asked: &'a [Partition],
    answers: Vec<Result<i64, Failure>>,
}

#[derive(Clone)]
struct Failure {
    error: KafkaError,
    /// The client knows no leader: the metadata tells whether there is one.
    no_leader: bool,
}

/// Lists one offset per partition. `spec` is a time in milliseconds, [`EARLIEST`] or [`LATEST`].
///
/// A partition without a leader is answered with that error as soon as the metadata confirms it. One that has a leader is
/// asked for again for [`PATIENCE`], because the client may know an older leader.
pub(super) fn list(client: &Arc<Client>, asked: &[Partition], spec: i64, isolation: Isolation) -> Answers<i64> {
    let began = Instant::now();
    let mut offsets = Offsets { client, asked, answers: once(client, asked, spec, isolation)? };
    let mut open: Vec<usize> = (0..asked.len()).collect();
    loop {
        open.retain(|&index| offsets.may_pass(index));
        let is_over = began.elapsed() >= PATIENCE;
        let no_leader =
            open.iter().any(|&index| matches!(&offsets.answers[index], Err(Failure { no_leader: true, .. })));
        if !open.is_empty() && (is_over || no_leader) {
            offsets.decide_by_metadata(&mut open)?;
        }
        if open.is_empty() || is_over {
            return Ok(offsets.answers.into_iter().map(|answer| answer.map_err(|failure| failure.error)).collect());
        }
        std::thread::sleep(BACKOFF);
        let again: Vec<_> = open.iter().map(|&index| asked[index].clone()).collect();
        for (&index, answer) in open.iter().zip(once(client, &again, spec, isolation)?) {
            offsets.answers[index] = answer;
        }
    }
}

impl Offsets<'_> {
    /// Returns whether a partition's error may be out of date: a leader that has just been elected may not know it yet.
    fn may_pass(&self, index: usize) -> bool {
        let fault = self.answers[index].as_ref().err().map(|failure| failure.error.fault);
        matches!(fault, Some(KafkaFault::Unavailable | KafkaFault::UnknownTopic))
    }

    /// Asks a broker about the topics of the `open` partitions, and keeps those that have a leader. The others get their
    /// reason: the list of offsets does not tell a missing topic from one without leaders.
    /// Error: the broker does not answer, and no partition of the request was answered.
    fn decide_by_metadata(&mut self, open: &mut Vec<usize>) -> Result<(), KafkaError> {
        let names: BTreeSet<&str> = open.iter().map(|&index| self.asked[index].topic.as_ref()).collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let described = match describe::topics(self.client, &names) {
            Ok(described) => described,
            Err(error) if self.answers.iter().all(Result::is_err) => return Err(error),
            Err(_) => {
                open.clear();
                return Ok(());
            }
        };
        let topics: HashMap<_, _> = names.iter().map(String::as_str).zip(described).collect();
        open.retain(|&index| {
            let at = &self.asked[index];
            let doing = || format!("{DOING}, {at}");
            let error = match &topics[at.topic.as_ref()] {
                Err(error) => KafkaError { doing: doing(), ..error.clone() },
                Ok(found) if at.partition >= found.topic.partitions => KafkaError::unknown_topic(doing()),
                Ok(found) if found.lacks_leader(at.partition) => KafkaError::unavailable(doing(), NO_LEADER_NOW),
                Ok(_) => return true,
            };
            self.answers[index] = Err(Failure { error, no_leader: false });
            false
        });
        Ok(())
    }
}

/// Returns whether a broker stated this offset. If no broker answered, for example because the connection was lost,
/// librdkafka returns a negative offset without an error. A broker itself states −1 only for "no record that new".
fn is_answer(spec: i64, offset: i64) -> bool {
    offset >= if spec < 0 { 0 } else { -1 }
}

/// Makes one attempt. All requests are made before the first answer is awaited, so that a broker that hangs delays the
/// attempt by one time limit.
fn once(
    client: &Arc<Client>,
    partitions: &[Partition],
    spec: i64,
    isolation: Isolation,
) -> Result<Vec<Result<i64, Failure>>, KafkaError> {
    let submitted = partitions.chunks(PARTITIONS).map(|part| Ok((part, submit(client, part, spec, isolation)?)));
    let submitted = submitted.collect::<Result<Vec<_>, KafkaError>>()?;
    let mut answers = Vec::with_capacity(partitions.len());
    for (part, call) in submitted {
        answers.extend(answers_of(part, spec, call.answer())?);
    }
    Ok(answers)
}

fn submit(
    client: &Arc<Client>,
    partitions: &[Partition],
    spec: i64,
    isolation: Isolation,
) -> Result<Submitted, KafkaError> {
    let list = PartitionList::new(partitions.len());
    for asked in partitions {
        list.add(&c_string(&asked.topic)?, asked.partition, Some(spec), -1);
    }
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let call = Call::new(client, operation, format!("{DOING} of {} partitions", partitions.len()))?;
    Ok(call.within(BROKER_LIMIT)?.isolated(isolation)?.submit(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the list.
        unsafe { sys::rd_kafka_ListOffsets(rk, list.raw(), options, queue) }
    }))
}

fn answers_of(
    partitions: &[Partition],
    spec: i64,
    answer: Result<Event, KafkaError>,
) -> Result<Vec<Result<i64, Failure>>, KafkaError> {
    let event = match answer {
        Ok(event) => event,
        // No partition has a leader, or no leader answers: the metadata tells which.
        Err(error) if error.is_unanswered() => {
            let error = KafkaError::unavailable(error.doing, error.reason);
            return Ok(vec![Err(Failure { error, no_leader: true }); partitions.len()]);
        }
        Err(error) => return Err(error),
    };
    let mut found = HashMap::with_capacity(partitions.len());
    // SAFETY: the event holds a ListOffsets answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.raw());
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        for &info in lent(infos, count) {
            let entry = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            let at = Partition::new(lossy((*entry).topic).into_owned(), (*entry).partition);
            // Read as a number: a newer broker's code may have no name in the bindings' enum.
            let stated = (&raw const (*entry).err).cast::<i32>().read();
            let offset = (*entry).offset;
            let answer = match stated {
                0 if is_answer(spec, offset) => Ok(offset),
                stated => {
                    let code = if stated == 0 { DISCONNECTED } else { stated };
                    let error = KafkaError::coded(format!("{DOING}, {at}"), code, reason_of(code));
                    Err(Failure { error, no_leader: code == NO_LEADER })
                }
            };
            found.insert(at, answer);
        }
    }
    let unanswered = |at: &Partition| {
        let error = KafkaError::misused(DOING, format!("the answer lacks {at}"));
        Err(Failure { error, no_leader: false })
    };
    Ok(partitions.iter().map(|at| found.remove(at).unwrap_or_else(|| unanswered(at))).collect())
}
