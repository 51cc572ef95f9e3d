//! Replays the fuzz corpus: what a fuzzer once found, or was given to start from, is checked by every `cargo test` with
//! the very function that the fuzz target runs.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks.rs"]
pub mod checks;

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).expect("a corpus").map(|entry| entry.expect("as listed").path());
    let entries: Vec<_> = entries.collect();
    assert!(entries.len() >= 5, "{} has {} entries", directory.display(), entries.len());
    for path in entries {
        println!("{}", path.display());
        check(&fs::read(&path).expect("as listed"));
    }
}

#[test]
fn the_corpus_of_blocks_is_refused_or_decoded() {
    replay("block", checks::block);
}

#[test]
fn the_corpus_of_records_survives() {
    replay("records", checks::records);
}

#[test]
fn the_corpus_of_payloads_with_state_is_refused_or_decoded() {
    replay("state", checks::state);
}

#[test]
fn the_corpus_of_sequences_survives() {
    replay("sequence", checks::sequence);
}
