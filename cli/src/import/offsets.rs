//! How far MirrorMaker 2 has copied, from the records of Kafka Connect's offsets topic, one a line as Kafka's console consumer
//! prints them: the key, a tab, the value. Connect stores the offset of the last record that was copied.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::partition::Partition;

/// Key of a record: the connector, and what it reads.
#[derive(Deserialize)]
struct Key(String, Read);

#[derive(Deserialize)]
struct Read {
    cluster: String,
    topic: String,
    partition: i32,
}

#[derive(Deserialize)]
struct Copied {
    offset: i64,
}

/// Next offset of each partition of `source`: the one behind the last record that MirrorMaker 2 has committed.
/// Error: a line that is no such record.
pub(super) fn parse(text: &str, source: &str) -> Result<BTreeMap<Partition, i64>, String> {
    let mut next = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        // What the other connectors store has another form.
        let Some((key, value)) = line.split_once('\t').filter(|(key, _)| key.contains("MirrorSourceConnector\""))
        else {
            if line.is_empty() || line.starts_with(['[', 'n']) {
                continue;
            }
            return Err(format!("line {number}: it is no key, tab and value; print them with `print.key=true`"));
        };
        let unreadable = |error: serde_json::Error| format!("line {number}: {error}");
        let Key(connector, read) = serde_json::from_str(key).map_err(unreadable)?;
        if !connector.ends_with("MirrorSourceConnector") || read.cluster != source {
            continue;
        }
        let at = Partition::new(read.topic, read.partition);
        // A later record of a key takes the place of an earlier one; without a value the offset was reset.
        match serde_json::from_str::<Option<Copied>>(value).map_err(unreadable)? {
            Some(Copied { offset }) if read.partition >= 0 && (0..i64::MAX).contains(&offset) => {
                next.insert(at, offset + 1);
            }
            Some(_) => return Err(format!("line {number}: a negative number")),
            None => {
                next.remove(&at);
            }
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cluster: &str, topic: &str, partition: i32, value: &str) -> String {
        format!(
            "[\"MirrorSourceConnector\",{{\"cluster\":\"{cluster}\",\"partition\":{partition},\"topic\":\"{topic}\"}}]\t{value}\n"
        )
    }

    #[test]
    fn the_last_record_of_each_partition_counts() {
        let text = [
            line("fra", "orders", 0, "{\"offset\":41}"),
            line("par", "orders", 0, "{\"offset\":7}"),
            "[\"MirrorHeartbeatConnector\",{\"sourceClusterAlias\":\"fra\"}]\t{\"offset\":0}\n".to_owned(),
            line("fra", "orders", 1, "{\"offset\":0}"),
            line("fra", "gone", 0, "{\"offset\":9}"),
            line("fra", "orders", 0, "{\"offset\":4711}"),
            line("fra", "gone", 0, "null"),
            line("fra", "of-strimzi", 0, "{\"offset\":1}").replace("Mirror", "fra->sin.Mirror"),
        ];
        let next = parse(&text.concat(), "fra").unwrap();
        let expected = [("of-strimzi", 0, 2), ("orders", 0, 4712), ("orders", 1, 1)];
        assert_eq!(next, expected.map(|(topic, n, offset)| (Partition::new(topic, n), offset)).into());
    }

    #[test]
    fn another_text_is_refused() {
        for (text, words) in [
            ("{\"offset\":1}\n", "line 1: it is no key, tab and value"),
            (&*line("fra", "a", 0, "{\"offset\":-1}"), "negative"),
            (&*line("fra", "a", 0, "{}"), "line 1: missing field"),
        ] {
            let error = parse(text, "fra").unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
