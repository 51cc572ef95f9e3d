//! The ends of logs, and where a time begins in them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use crate::catalog::Isolation;
use wire::partition::Partition;

use super::super::client::{Client, c_string, lossy, reason_of};
use super::super::error::{KafkaError, KafkaFault};
use super::super::partitions::PartitionList;
use super::call::{Call, lent};
use super::{LIMIT, describe};

/// librdkafka's name for the log's start.
pub(super) const EARLIEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
/// librdkafka's name for the log's end.
pub(super) const LATEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;

/// What a broker that left before it answered comes to.
const LEFT: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT as i32;

const DOING: &str = "list of offsets";
/// How long a topic made a moment ago may take to be known everywhere.
const PROPAGATION: Duration = Duration::from_secs(2);
/// Between tries while a partition has no leader: just created, or its broker just lost.
const BACKOFF: Duration = Duration::from_millis(100);

/// One offset per partition: `spec` is a time in milliseconds or one of the names above.
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

/// librdkafka gives out what nobody answered, a broker's connection being lost for one, as an offset without an
/// error: below 0, as no end of a log is; and below −1, which is a broker's own word for "no record of that time".
fn is_answer(spec: i64, offset: i64) -> bool {
    offset >= if spec < 0 { 0 } else { -1 }
}

/// A missing topic looks like one without leaders to the call itself.
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
    // SAFETY: the event holds a ListOffsets answer, outlives this block, and all is copied out of it.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.raw());
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        for &info in lent(infos, count) {
            let entry = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            let topic = lossy((*entry).topic).into_owned();
            let partition = (*entry).partition;
            // As a number: a newer broker's code may have no name in the bindings' enum.
            let said = (&raw const (*entry).err).cast::<i32>().read();
            let offset = (*entry).offset;
            let code = if said == 0 && !is_answer(spec, offset) { LEFT } else { said };
            if code != 0 {
                let reason = reason_of(code);
                return Err(KafkaError::coded(format!("{DOING}, {topic}-{partition}"), code, reason));
            }
            found.insert(Partition::new(topic, partition), offset);
        }
    }
    Ok(found)
}
