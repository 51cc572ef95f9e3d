//! Golden bytes: blocks in `vectors/` and the records in them, line by line. They are read here and never written; a
//! decoder must read them in all versions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use shape::{Decoder, DecoderState, Limits, RecordsBuf};

fn vectors() -> BTreeSet<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let entries = fs::read_dir(directory).expect("vectors").map(|entry| entry.expect("as listed").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "hex")).collect()
}

/// Bytes of a file of hexadecimal digits, with comments behind `#`.
fn read(path: &Path) -> Vec<u8> {
    digits(&fs::read_to_string(path).expect("a vector"))
}

fn digits(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().bytes().filter(u8::is_ascii_hexdigit))
        .collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("digits"), 16).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

#[test]
fn golden_blocks_have_their_records() {
    let vectors = vectors();
    assert!(vectors.len() >= 5, "there are vectors");
    for path in vectors {
        let block = read(&path);
        let text = fs::read_to_string(path.with_extension("txt")).expect("records next to the block");
        let expected: RecordsBuf = text.lines().collect();
        let mut records = RecordsBuf::default();
        Decoder::new(Limits::default()).decode(&block, &mut records).expect("a block");
        assert_eq!(records, expected, "{}", path.display());
    }
}

#[test]
fn golden_blocks_with_state_have_their_records() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let [blocks, groups] =
        ["state.blocks", "state.groups"].map(|name| fs::read_to_string(directory.join(name)).expect("a vector"));
    let mut state = DecoderState::new(4 << 20);
    let mut decoder = Decoder::new(Limits::default());
    let mut marks = BTreeSet::new();
    let [blocks, groups] = [&blocks, &groups].map(|text| text.split("\n\n").collect::<Vec<_>>());
    assert_eq!(blocks.len(), groups.len());
    for (block, group) in blocks.into_iter().zip(groups) {
        let block = digits(block);
        marks.insert(block[1]);
        let mut records = RecordsBuf::default();
        decoder.decode_with(&mut state, &block, &mut records).expect("a block");
        assert_eq!(records, group.lines().collect());
    }
    assert_eq!(marks, [0, 2, 7].into(), "blocks that begin and that do not");
}

#[test]
fn the_worked_example_of_the_specification_is_a_vector() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/design/shape-format.md");
    let page = fs::read_to_string(page).expect("the specification");
    let example = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/example.hex"));
    let len = zstd::zstd_safe::get_frame_content_size(&example[1..]).expect("a zstd frame").expect("a stated size");
    let content = zstd::bulk::decompress(&example[1..], len as usize).expect("a payload");
    let block = page.split("```").find(|part| part.starts_with("payload")).expect("an example");
    let columns = block.lines().skip(1).map(|line| line.split("  ").next().unwrap_or_default());
    let digits: String = columns.flat_map(str::split_whitespace).collect();
    let shown: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, shown, "the page shows the payload of vectors/example.hex");
}
