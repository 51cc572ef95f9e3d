//! Rules for single lines of Rust: file headers and tests that wait or are skipped.

use super::tree::{Fault, File};

/// The only file of the test harness that may sleep: all others wait through it, with a deadline.
const WAIT: &str = "tests/harness/wait.rs";

/// Every Rust file parses; the rules that read its syntax would pass over it otherwise.
pub(super) fn parses(files: &[File]) -> Vec<Fault> {
    let broken = files.iter().filter(|file| file.is_rust() && file.rust.is_none());
    broken.map(|file| Fault::new(file, 1, "does not parse as Rust")).collect()
}

/// Every Rust file begins with a `//!` header that says what the file is for.
pub(super) fn header(files: &[File]) -> Vec<Fault> {
    let rust = files.iter().filter(|file| file.is_rust());
    rust.filter(|file| !file.text.starts_with("//! "))
        .map(|file| Fault::new(file, 1, "has no `//!` header that says what the file is for"))
        .collect()
}

/// No test sleeps or is skipped. A sleep is slow when the test passes and too short when the machine is busy.
pub(super) fn tests_do_not_sleep(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let waits = file.is_under("tests/") && file.path != WAIT;
        for (number, line) in file.lines() {
            let code = code_of(line);
            if waits && code.contains("thread::sleep") {
                faults.push(Fault::new(file, number, "a test sleeps: use harness::wait, which has a deadline"));
            }
            if ["#[ignore", "#[should_panic"].iter().any(|attribute| code.trim_start().starts_with(attribute)) {
                let what = "no test is ignored, and a test that expects a panic says so in its body";
                faults.push(Fault::new(file, number, what));
            }
        }
    }
    faults
}

/// A line without its comment and without the text between quotes.
pub(super) fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut previous = ' ';
    for character in line.chars() {
        if character == '"' && previous != '\\' && previous != '\'' {
            quoted = !quoted;
        } else if !quoted {
            code.push(character);
        }
        previous = character;
    }
    if let Some(comment) = code.find("//") {
        code.truncate(comment);
    }
    code
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn fires(rule: fn(&[File]) -> Vec<Fault>, path: &str, text: &str) -> bool {
        !rule(&tree(&[(path, text)])).is_empty()
    }

    #[test]
    fn rust_that_does_not_parse_is_found() {
        assert!(fires(parses, "a.rs", "fn f( {}"));
        assert!(!fires(parses, "a.rs", "fn f() {}"));
        assert!(!fires(parses, "a.md", "fn f( {}"));
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(fires(header, "link/src/a.rs", "use std::fmt;\n"));
        assert!(!fires(header, "link/src/a.rs", "//! For a.\n"));
        assert!(!fires(header, "docs/a.md", "# A\n"));
    }

    #[test]
    fn sleeping_and_skipped_tests_are_found() {
        assert!(fires(tests_do_not_sleep, "tests/kafka_a.rs", "thread::sleep(SECOND);"));
        assert!(!fires(tests_do_not_sleep, WAIT, "thread::sleep(SECOND);"));
        assert!(fires(tests_do_not_sleep, "link/src/a.rs", "    #[ignore = \"slow\"]"));
        assert!(fires(tests_do_not_sleep, "link/src/a.rs", "#[should_panic]"));
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        assert_eq!(code_of("a(\"b // c\") // d").trim_end(), "a()");
        assert_eq!(code_of("let quote = '\"'; x").trim_end(), "let quote = '\"'; x");
    }
}
