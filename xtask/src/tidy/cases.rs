//! The page of cases says what the code says, and its proofs exist.

use super::{Fault, File, has_word};

/// What may go wrong, what is said of it, and which test shows it.
const PAGE: &str = "docs/cases.md";

/// Where the words of halts and the names of close codes come from, each in the first quotes of a line that has one of
/// these words behind it.
const TABLES: [(&str, &[&str]); 2] =
    [("wire/src/halt.rs", &["true", "false"]), ("wire/src/close.rs", &["Retry", "Reconnect", "Halt"])];

/// What a process may leave with.
const EXITS: [&str; 4] = ["exit 0", "exit 1", "exit 2", "exit 3"];

/// A row of a table: what is said, its word or code, and its proofs.
struct Row<'a> {
    line: usize,
    said: &'a str,
    word: &'a str,
    proofs: &'a str,
}

/// Every halt, close code and exit code has a row.
pub(super) fn complete(files: &[File]) -> Vec<Fault> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let rows: Vec<_> = rows(page).collect();
    let tables = TABLES.iter().filter_map(|(path, behind)| {
        let file = files.iter().find(|file| file.path == *path)?;
        Some(file.lines().filter_map(move |(_, line)| entry(line, behind)))
    });
    let words = tables.flatten().map(|word| format!("`{word}`")).chain(EXITS.map(str::to_owned));
    let missing = words.filter(|word| !rows.iter().any(|row| row.word.contains(word.as_str())));
    missing.map(|word| Fault::new(page, 1, format!("has no row for {word}"))).collect()
}

/// Every sentence is in the code, values left out.
pub(super) fn sentences(files: &[File]) -> Vec<Fault> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let code: Vec<_> = files.iter().filter(|file| file.is_rust() && !is_test(file)).map(strings).collect();
    let mut faults = Vec::new();
    for row in rows(page) {
        for sentence in quoted(row.said).filter(|said| said.contains(' ')) {
            let parts = sentence.split('…').map(str::trim).filter(|part| part.len() > 2);
            for part in parts.filter(|part| !code.iter().any(|code| code.contains(*part))) {
                faults.push(Fault::new(page, row.line, format!("no code says {part:?}")));
            }
        }
    }
    faults
}

/// Every row has a test, and the test exists.
pub(super) fn proofs(files: &[File]) -> Vec<Fault> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let mut faults = Vec::new();
    for row in rows(page) {
        let mut named = quoted(row.proofs).filter_map(|proof| proof.split_once("::")).peekable();
        if named.peek().is_none() {
            faults.push(Fault::new(page, row.line, "names no test"));
        }
        for (path, test) in named {
            let is_there = |file: &File| file.path == path && has_word(&file.text, &format!("fn {test}"));
            if !files.iter().any(is_there) {
                faults.push(Fault::new(page, row.line, format!("{path} has no test {test}")));
            }
        }
    }
    faults
}

fn rows(page: &File) -> impl Iterator<Item = Row<'_>> {
    page.lines().filter_map(|(line, text)| {
        let cells: Vec<_> = text.strip_prefix('|')?.trim_end().strip_suffix('|')?.split('|').map(str::trim).collect();
        let [_, said, word, proofs] = cells[..] else { return None };
        let is_head = proofs == "proven by" || proofs.starts_with("---");
        (!is_head).then_some(Row { line, said, word, proofs })
    })
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The first string of a line of a table.
fn entry<'a>(line: &'a str, behind: &[&str]) -> Option<&'a str> {
    let (_, rest) = line.trim_start().split_once(" \"")?;
    let (word, rest) = rest.split_once("\" ")?;
    behind.contains(&rest.split(' ').next()?).then_some(word)
}

fn is_test(file: &File) -> bool {
    file.is_under("tests/")
        || file.is_under("xtask/")
        || file.path.contains("/tests/")
        || file.path.ends_with("/tests.rs")
}

/// What a file's code may say: without its tests, strings that go over several lines in one.
fn strings(file: &File) -> String {
    let code = file.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut said = String::new();
    for line in code.lines() {
        match line.strip_suffix('\\') {
            Some(begun) => said += begun,
            None => {
                said += line.trim_start();
                said.push('\n');
            }
        }
    }
    said.replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    const HEAD: &str = "| case | what is said | word | proven by |\n| --- | --- | --- | --- |\n";
    const HALTS: (&str, &str) = ("wire/src/halt.rs", "    Corrupt \"corrupt\" true Nowhere \"A sentence.\";\n");
    const CODES: (&str, &str) = ("wire/src/close.rs", "    3 Busy \"BUSY\" Retry \"A sentence.\";\n");

    fn page(rows: &str) -> String {
        format!("# Every case\n\n{HEAD}{rows}")
    }

    #[test]
    fn a_halt_or_code_without_a_row_is_found() {
        let exits = "| a | b | exit 0 exit 1 exit 2 exit 3 | c |\n";
        let rows = page(&format!("{exits}| a | b | `corrupt` | c |\n| a | b | `BUSY` | c |\n"));
        assert_eq!(complete(&tree(&[(PAGE, &rows), HALTS, CODES])), []);
        let rows = page(&format!("{exits}| a | `corrupt` | `other` | c |\n"));
        let faults = complete(&tree(&[(PAGE, &rows), HALTS, CODES]));
        let said: Vec<_> = faults.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(said, ["has no row for `corrupt`", "has no row for `BUSY`"]);
    }

    #[test]
    fn a_sentence_that_no_code_says_is_found() {
        let code = "fn f() { say(\"a log of {n} \\\n    records is \\\"short\\\"\") }\n#[cfg(test)]\nmod tests { \"a test's words\" }\n";
        for (said, faults) in [
            ("`a log of … records is \"short\"`", 0),
            ("the client's words", 0),
            ("`a log of … letters`", 1),
            ("`a test's words`", 1),
        ] {
            let rows = page(&format!("| a | {said} | b | c |\n"));
            assert_eq!(sentences(&tree(&[(PAGE, &rows), ("a/src/b.rs", code)])).len(), faults, "{said}");
        }
    }

    #[test]
    fn a_proof_that_does_not_exist_is_found() {
        let test = ("tests/a.rs", "#[test]\nfn it_holds_water() {}\n");
        for (proof, faults) in [
            ("`tests/a.rs::it_holds_water`", 0),
            ("`tests/a.rs::it_holds`", 1),
            ("`tests/b.rs::it_holds_water`", 1),
            ("hope", 1),
        ] {
            let rows = page(&format!("| a | b | c | {proof} |\n"));
            assert_eq!(proofs(&tree(&[(PAGE, &rows), test])).len(), faults, "{proof}");
        }
    }
}
