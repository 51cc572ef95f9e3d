//! The page of cases agrees with the code, and the tests that it names exist.

use super::tree::{Fault, File, backticked, has_word};

/// The page of what may go wrong, what Causeway says then, and which test shows it; in any folder.
const PAGE: &str = "cases.md";

/// The tables of halts and close codes. A name is in the first quotes of a line, with one of these words behind it.
const TABLES: [(&str, &[&str]); 2] =
    [("wire/src/halt.rs", &["true", "false"]), ("wire/src/close.rs", &["Retry", "Reconnect", "Halt"])];

/// Exit codes of the command.
const EXITS: [&str; 4] = ["exit 0", "exit 1", "exit 2", "exit 3"];

/// A row of a table: the sentence that is printed, its word or code, and the tests that prove it.
struct Row<'a> {
    line: usize,
    said: &'a str,
    word: &'a str,
    proofs: &'a str,
}

fn page(files: &[File]) -> Option<&File> {
    files.iter().find(|file| file.name() == PAGE)
}

/// Every halt, close code and exit code has a row.
pub(super) fn complete(files: &[File]) -> Vec<Fault> {
    let Some(page) = page(files) else { return Vec::new() };
    let rows: Vec<_> = rows(page).collect();
    let tables = TABLES.iter().filter_map(|(path, behind)| {
        let file = files.iter().find(|file| file.path == *path)?;
        Some(file.lines().filter_map(move |(_, line)| entry(line, behind)))
    });
    let words = tables.flatten().map(|word| format!("`{word}`")).chain(EXITS.map(str::to_owned));
    let missing = words.filter(|word| !rows.iter().any(|row| row.word.contains(word.as_str())));
    missing.map(|word| Fault::new(page, 1, format!("has no row for {word}"))).collect()
}

/// Every sentence on the page is in the code; `…` on the page means a value.
pub(super) fn sentences(files: &[File]) -> Vec<Fault> {
    let Some(page) = page(files) else { return Vec::new() };
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

/// Every row names a test, and the test exists.
pub(super) fn proofs(files: &[File]) -> Vec<Fault> {
    let Some(page) = page(files) else { return Vec::new() };
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

/// Pieces of a text between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    backticked(text).map(|(_, piece)| piece)
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

/// A file's code without its tests; strings over several lines are joined.
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
    use super::super::tree::tree;
    use super::*;

    const HEAD: &str = "| case | what is said | word | proven by |\n| --- | --- | --- | --- |\n";
    const PATH: &str = "docs/cases.md";
    const HALTS: (&str, &str) = ("wire/src/halt.rs", "    Corrupt \"corrupt\" true Nowhere \"A sentence.\";\n");
    const CODES: (&str, &str) = ("wire/src/close.rs", "    3 Busy \"BUSY\" Retry \"A sentence.\";\n");

    fn page_of(rows: &str) -> String {
        format!("# Every case\n\n{HEAD}{rows}")
    }

    #[test]
    fn a_halt_or_code_without_a_row_is_found() {
        let exits = "| a | b | exit 0 exit 1 exit 2 exit 3 | c |\n";
        let rows = page_of(&format!("{exits}| a | b | `corrupt` | c |\n| a | b | `BUSY` | c |\n"));
        assert_eq!(complete(&tree(&[(PATH, &rows), HALTS, CODES])), []);
        let rows = page_of(&format!("{exits}| a | `corrupt` | `other` | c |\n"));
        let faults = complete(&tree(&[(PATH, &rows), HALTS, CODES]));
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
            let rows = page_of(&format!("| a | {said} | b | c |\n"));
            assert_eq!(sentences(&tree(&[(PATH, &rows), ("a/src/b.rs", code)])).len(), faults, "{said}");
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
            let rows = page_of(&format!("| a | b | c | {proof} |\n"));
            assert_eq!(proofs(&tree(&[(PATH, &rows), test])).len(), faults, "{proof}");
        }
    }
}
