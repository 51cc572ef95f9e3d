//! Offsets of partitions: the start, the end, and the first record at or after a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use wire::partition::Partition;

use super::call::{Call, LIMIT, lent};
use super::describe;
use crate::catalog::Isolation;
use crate::client::{Client, reason_of};
use crate::error::{KafkaError, KafkaFault};
use crate::partitions::PartitionList;
use crate::text::{c_string, lossy};

/// Request for the log's start, as librdkafka writes it.
pub(super) const EARLIEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
/// Request for the log's end, as librdkafka writes it.
pub(super) const LATEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
/// Error code for a broker that disconnected before it answered.
const DISCONNECTED: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT as i32;
const DOING: &str = "list of offsets";
/// Time within which every broker learns of a new topic.
const PROPAGATION: Duration = Duration::from_secs(2);
/// Pause between attempts while a partition has no leader: the topic is new, or a broker has failed.
const BACKOFF: Duration = Duration::from_millis(100);

/// Lists one offset per partition. `spec` is a time in milliseconds, [`EARLIEST`] or [`LATEST`].
pub(super) fn list(
    client: &Arc<Client>,
    partitions: &[Partition],
    spec: i64,
    isolation: Isolation,
) -> Result<HashMap<Partition, i64>, KafkaError> {
    let began = Instant::now();
    loop {
        match once(client, partitions, spec, isolation) {
            Err(error) if error.fault == KafkaFault::Unavailable && began.elapsed() < LIMIT => {
                if began.elapsed() > PROPAGATION {
                    all_exist(client, partitions)?;
                }
                std::thread::sleep(BACKOFF);
            }
            result => return result,
        }
    }
}

/// Returns whether a broker stated this offset. If no broker answered, for example because the connection was lost,
/// librdkafka returns a negative offset without an error. A broker itself states −1 only for "no record that new".
fn is_answer(spec: i64, offset: i64) -> bool {
    offset >= if spec < 0 { 0 } else { -1 }
}

/// Fails if a topic does not exist: the call itself reports it like a topic without leaders.
fn all_exist(client: &Arc<Client>, partitions: &[Partition]) -> Result<(), KafkaError> {
    let names: BTreeSet<&str> = partitions.iter().map(|asked| asked.topic.as_ref()).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let found = describe::topics(client, &names)?;
    match names.iter().find(|name| !found.iter().any(|topic| topic.name == **name)) {
        None => Ok(()),
        Some(missing) => {
            let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32;
            Err(KafkaError::coded(format!("{DOING} of `{missing}`"), code, reason_of(code)))
        }
    }
}

fn once(
    client: &Arc<Client>,
    partitions: &[Partition],
    spec: i64,
    isolation: Isolation,
) -> Result<HashMap<Partition, i64>, KafkaError> {
    if partitions.is_empty() {
        return Ok(HashMap::new());
    }
    let list = PartitionList::new(partitions.len());
    for asked in partitions {
        list.add(&c_string(&asked.topic)?, asked.partition, Some(spec), -1);
    }
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let call = Call::new(client, operation, format!("{DOING} of {} partitions", partitions.len()))?;
    let event = call.isolated(isolation)?.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the list.
        unsafe { sys::rd_kafka_ListOffsets(rk, list.raw(), options, queue) }
    })?;
    let mut found = HashMap::with_capacity(partitions.len());
    // SAFETY: the event holds a ListOffsets answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.raw());
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        for &info in lent(infos, count) {
            let entry = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            let topic = lossy((*entry).topic).into_owned();
            let partition = (*entry).partition;
            // Read as a number: a newer broker's code may have no name in the bindings' enum.
            let stated = (&raw const (*entry).err).cast::<i32>().read();
            let offset = (*entry).offset;
            let code = if stated == 0 && !is_answer(spec, offset) { DISCONNECTED } else { stated };
            if code != 0 {
                let reason = reason_of(code);
                return Err(KafkaError::coded(format!("{DOING}, {topic}-{partition}"), code, reason));
            }
            found.insert(Partition::new(topic, partition), offset);
        }
    }
    Ok(found)
}
