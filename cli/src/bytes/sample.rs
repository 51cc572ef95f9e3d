//! Sample of records: the lines of a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Bytes of a sample, at most: more would change nothing.
const SAMPLE_MAX: usize = 64 << 20;

/// Values of records, in order.
#[derive(Debug)]
pub(super) struct Sample {
    records: Vec<Vec<u8>>,
    bytes: usize,
}

impl Sample {
    /// Reads the lines of a file, or of standard input for `-`. Lines without content are left out.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let explain = |error: io::Error| format!("{}: {error}", path.display());
        let sample = if path == Path::new("-") {
            Self::of(io::stdin().lock()).map_err(explain)?
        } else {
            Self::of(BufReader::new(File::open(path).map_err(explain)?)).map_err(explain)?
        };
        if sample.bytes == 0 {
            return Err(format!("{}: no records; each line is one", path.display()));
        }
        Ok(sample)
    }

    fn of(input: impl BufRead) -> io::Result<Self> {
        let mut sample = Self { records: Vec::new(), bytes: 0 };
        for line in input.take(SAMPLE_MAX as u64).split(b'\n') {
            let mut line = line?;
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.is_empty() {
                sample.bytes += line.len();
                sample.records.push(line);
            }
        }
        Ok(sample)
    }

    pub(super) fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// Bytes of all records.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_with_content_is_a_record() {
        let sample = Sample::of(&b"{\"a\":1}\r\n\n{\"a\":2}\nlast"[..]).unwrap();
        assert_eq!(sample.records(), [&b"{\"a\":1}"[..], b"{\"a\":2}", b"last"]);
        assert_eq!(sample.bytes(), 18);
    }
}
