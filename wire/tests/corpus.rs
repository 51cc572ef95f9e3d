//! Replays the fuzz corpus: what a fuzzer once found, or was given to start from, is checked by every
//! `cargo test` with the very function the fuzz target runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use wire::codec::KINDS;

#[path = "../fuzz/checks.rs"]
pub mod hostile;

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut entries: Vec<_> =
        fs::read_dir(&directory).expect("a corpus").map(|entry| entry.expect("as listed").path()).collect();
    entries.sort();
    assert!(entries.len() >= 5, "{} holds {} entries", directory.display(), entries.len());
    for path in entries {
        println!("{}", path.display());
        check(&fs::read(&path).expect("as listed"));
    }
}

#[test]
fn the_corpus_of_frames_holds() {
    replay("frame", hostile::frame);
}

#[test]
fn the_corpus_of_shaped_frames_holds() {
    replay("shaped", hostile::shaped);
}

#[test]
fn the_corpus_of_control_messages_holds() {
    replay("control", hostile::control);
    // A fuzzer seldom finds the body of a kind that it was not given.
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/control");
    let entries = fs::read_dir(directory).expect("a corpus").map(|entry| entry.expect("as listed").path());
    let kinds: BTreeSet<u8> = entries.filter_map(|path| fs::read(path).expect("as listed").first().copied()).collect();
    let missing: Vec<_> = KINDS.iter().filter(|kind| !kinds.contains(&kind.number)).map(|kind| kind.name).collect();
    assert!(missing.is_empty(), "the corpus lacks {missing:?}");
}

#[test]
fn the_corpus_of_compressed_bytes_holds() {
    replay("compression", hostile::compression);
}

#[test]
fn the_corpus_of_quantities_holds() {
    replay("units", hostile::units);
}
