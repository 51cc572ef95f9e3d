//! The specification says what the code does: its tables are compared cell by cell.

use std::fs;
use std::path::Path;

use wire::close::CloseCode;
use wire::codec::{KINDS, RESERVED};
use wire::frame::FIELDS;
use wire::limits;

fn specification() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/design/wire-format.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the table whose heading begins with `first` and `second`.
fn table(first: &str, second: &str) -> Vec<Vec<String>> {
    let text = specification();
    let heading = format!("| {first} | {second} |");
    let rows = text.lines().skip_while(|line| !line.starts_with(&heading)).skip(2);
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn the_table_of_control_kinds_is_the_codes() {
    let code: Vec<_> =
        KINDS.iter().map(|kind| [kind.number.to_string(), kind.name.into(), kind.direction.into()]).collect();
    let found: Vec<_> = table("kind", "message").into_iter().map(|row| row[..3].to_vec()).collect();
    assert_eq!(found, code);
    for (number, name) in RESERVED {
        assert!(specification().contains(&format!("{number} ({name})")), "{number} ({name}) is reserved");
    }
}

#[test]
fn the_table_of_close_codes_is_the_codes() {
    let row = |code: &CloseCode| {
        let disposition = format!("{:?}", code.disposition()).to_lowercase();
        vec![code.number().to_string(), format!("`{}`", code.name()), disposition, code.sentence().into()]
    };
    assert_eq!(table("code", "name"), CloseCode::ALL.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn the_table_of_frame_fields_is_the_codes() {
    let row =
        |(offset, bytes, name): &(usize, usize, &str)| vec![offset.to_string(), bytes.to_string(), name.to_string()];
    assert_eq!(table("offset", "bytes"), FIELDS.iter().map(row).collect::<Vec<_>>());
    let ends = FIELDS.iter().scan(0, |end, &(offset, bytes, _)| {
        let gapless = *end == offset;
        *end = offset + bytes;
        Some((gapless, *end))
    });
    assert!(ends.clone().all(|(gapless, _)| gapless));
    assert_eq!(ends.last(), Some((true, limits::FRAME_HEADER_BYTES)));
}

#[test]
fn the_table_of_limits_is_the_codes() {
    let code = [
        ("bytes of a control message", limits::CONTROL_BYTES_MAX as u64),
        ("partitions in an offer", limits::OFFER_PARTITIONS_MAX as u64),
        ("configuration entries of a topic", limits::TOPIC_CONFIGS_MAX as u64),
        ("topics in `TopicsGone` or `Orphaned`", limits::TOPICS_NAMED_MAX as u64),
        ("topics in a message of settings", limits::SETTINGS_TOPICS_MAX as u64),
        ("settings of a topic in it", limits::SETTINGS_MAX as u64),
        ("bytes of the name or value of a setting in it", limits::SETTING_BYTES_MAX as u64),
        ("groups with their topics in a message of groups", limits::GROUP_TOPICS_MAX as u64),
        ("offsets in it", limits::GROUP_OFFSETS_MAX as u64),
        ("bytes of the metadata of an offset in it", limits::OFFSET_METADATA_MAX as u64),
        ("access control lists in a message", limits::ACLS_MAX as u64),
        ("topics, and groups, named in it", limits::ACL_NAMES_MAX as u64),
        ("topics in a message of ends", limits::ENDS_TOPICS_MAX as u64),
        ("partitions in it", limits::ENDS_MAX as u64),
        ("clusters a topic has passed", limits::CLUSTERS_MAX as u64),
        ("waiting partitions named in a condition", limits::NAMED_PARTITIONS_MAX as u64),
        ("sentences in a condition", limits::NAMED_TROUBLES_MAX as u64),
        ("partitions of a topic", limits::PARTITIONS_MAX as u64),
        ("bytes of a topic name", limits::TOPIC_NAME_MAX as u64),
        ("bytes of a link name", limits::LINK_NAME_MAX as u64),
        ("bytes of any other string", limits::STRING_MAX as u64),
        ("lanes", limits::LANES_MAX.into()),
        ("channels", limits::CHANNELS_MAX.into()),
        ("raw bytes of a frame's body", limits::FRAME_BODY_MAX as u64),
        ("runs in a frame", limits::RUNS_MAX.into()),
        ("records in a frame", limits::RECORDS_MAX.into()),
        ("groups in a frame", limits::GROUPS_MAX as u64),
        ("bytes of the frame state of a lane", 1 << limits::STATE_LOG_MAX),
        ("bytes of a body beyond its raw length", limits::STATE_EXCESS_MAX as u64),
        ("least cost of a frame in credit, and reserve", limits::FRAME_CHARGE_MIN),
        ("bytes of a reserve or pool", limits::CREDIT_MAX),
        ("least `RateAssignment`", limits::RATE_MIN),
    ];
    let code: Vec<_> = code.iter().map(|(name, value)| vec![name.to_string(), grouped(*value)]).collect();
    assert_eq!(table("limit", "value"), code);
}

/// With commas between groups of three digits.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits are ASCII")).collect();
    groups.join(",")
}

#[test]
fn the_specification_stays_short() {
    let is_word = |word: &&str| word.chars().any(char::is_alphanumeric);
    let sentences: usize = CloseCode::ALL.iter().map(|code| code.sentence().split_whitespace().count()).sum();
    let words = specification().split_whitespace().filter(is_word).count() - sentences;
    assert!(words <= 3_320, "{words} words without the sentences of the close codes");
}
