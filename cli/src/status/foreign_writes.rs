//! Records of other programs, as the page of a receiver shows them.

use receiver::ForeignWrites;
use service::format::grouped;

/// Records of other programs in the target.
pub(super) fn foreign_writes(found: &ForeignWrites) -> String {
    let ForeignWrites { records, partitions, waiting, unread, failure, .. } = found;
    let mut words = match records {
        Some(records) => format!("{} records of other programs", grouped(*records)),
        None => format!("unknown: {waiting} stretches of offsets wait to be read, {unread} were not read"),
    };
    if let Some(first) = partitions.first() {
        let at = first.first_offset.map_or_else(String::new, |offset| format!("@{offset}"));
        words += &format!(", such as {}/{}{at}", first.topic, first.partition);
    }
    words + &failure.iter().map(|reason| format!("; {reason}")).collect::<String>()
}
