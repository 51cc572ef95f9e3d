//! Rules for the code.

use super::{Fault, File, has_word};

/// Longer files hide a missing type.
const LINES_MAX: usize = 600;

/// The only place where `unsafe` may stand: the shim over librdkafka.
const UNSAFE_PLACE: &str = "link/src/kafka";

/// Which of our crates each may name among its dependencies. They point one way.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("wire", &[]),
    ("link", &["wire"]),
    ("sender", &["wire", "link"]),
    ("receiver", &["wire", "link"]),
    ("cli", &["wire", "link", "sender", "receiver"]),
    // The harness is the witness; integration tests beside it may name what they test.
    ("tests", &[]),
    ("benches", &["wire", "link", "sender", "receiver"]),
    ("xtask", &[]),
];

/// What `wire` must not touch: it is told the time and handed its bytes.
const IMPURE: [&str; 6] = ["std::net", "std::fs", "std::thread", "tokio", "Instant::now", "SystemTime::now"];

/// Every file says what it is for.
pub(super) fn header(files: &[File]) -> Vec<Fault> {
    let rust = files.iter().filter(|file| file.is_rust());
    rust.filter(|file| !file.text.starts_with("//! "))
        .map(|file| Fault::new(file, 1, "has no `//!` header that says what the file is for"))
        .collect()
}

pub(super) fn size(files: &[File]) -> Vec<Fault> {
    let rust = files.iter().filter(|file| file.is_rust());
    rust.map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| Fault::new(file, LINES_MAX, format!("has {lines} lines; {LINES_MAX} are allowed")))
        .collect()
}

/// `unsafe` stands in one place only, and each time says why it is sound.
pub(super) fn unsafe_code(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let mut reason = false;
        for (number, line) in file.lines() {
            let code = code_of(line);
            reason |= line.contains("SAFETY:");
            if has_word(&code, "unsafe") {
                if !file.is_under(UNSAFE_PLACE) {
                    faults.push(Fault::new(file, number, format!("`unsafe` outside {UNSAFE_PLACE}")));
                } else if code.contains("unsafe {") && !reason {
                    faults.push(Fault::new(file, number, "`unsafe` without a `// SAFETY:` above it"));
                }
            }
            // A reason holds for the statement below it, comment lines in between.
            if !code.trim().is_empty() && (code.contains(';') || code.contains('{') || code.contains('}')) {
                reason = false;
            }
        }
    }
    faults
}

/// Dependencies between our crates point one way.
pub(super) fn dependencies(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (crate_name, allowed) in MAY_USE {
        let manifest = format!("{crate_name}/Cargo.toml");
        let Some(file) = files.iter().find(|file| file.path == manifest) else {
            continue;
        };
        let mut counts = false;
        for (number, line) in file.lines() {
            if line.starts_with('[') {
                counts = line == "[dependencies]" || (line == "[dev-dependencies]" && crate_name != "tests");
            }
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = MAY_USE.iter().any(|(other, _)| *other == name);
            if counts && ours && !allowed.contains(&name) {
                faults.push(Fault::new(file, number, format!("{crate_name} must not depend on {name}")));
            }
        }
    }
    faults
}

pub(super) fn wire_is_pure(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && file.is_under("wire/src/")) {
        for (number, line) in file.lines() {
            for impure in IMPURE.iter().filter(|impure| has_word(&code_of(line), impure)) {
                faults.push(Fault::new(
                    file,
                    number,
                    format!("wire does no I/O and reads no clock, but names {impure}"),
                ));
            }
        }
    }
    faults
}

/// A test that sleeps is slow when it passes and wrong when the machine is busy; one that is skipped is none.
pub(super) fn tests_do_not_doze(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let waits = file.is_under("tests/") && file.path != "tests/harness/wait.rs";
        for (number, line) in file.lines() {
            let code = code_of(line);
            if waits && code.contains("thread::sleep") {
                faults.push(Fault::new(file, number, "tests wait with harness::wait, which has a deadline"));
            }
            if ["#[ignore", "#[should_panic"].iter().any(|attribute| code.trim_start().starts_with(attribute)) {
                faults.push(Fault::new(file, number, "a test is run, and says in its body what it expects"));
            }
        }
    }
    faults
}

/// A line without its comment and without what stands between quotes.
fn code_of(line: &str) -> String {
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
    use super::super::tree;
    use super::*;

    fn fires(rule: fn(&[File]) -> Vec<Fault>, path: &str, text: &str) -> bool {
        !rule(&tree(&[(path, text)])).is_empty()
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(fires(header, "link/src/a.rs", "use std::fmt;\n"));
        assert!(!fires(header, "link/src/a.rs", "//! For a.\n"));
        assert!(!fires(header, "docs/a.md", "# A\n"));
    }

    #[test]
    fn a_long_file_is_found() {
        assert!(fires(size, "a.rs", &"\n".repeat(601)));
        assert!(!fires(size, "a.rs", &"\n".repeat(600)));
    }

    #[test]
    fn unsafe_out_of_place_or_without_reason_is_found() {
        let block = "let a = unsafe { f() };\n";
        let reasoned = format!("// SAFETY: f is fine,\n// always.\n{block}");
        assert!(fires(unsafe_code, "sender/src/a.rs", &reasoned));
        assert!(fires(unsafe_code, "link/src/kafka/a.rs", block));
        assert!(fires(unsafe_code, "link/src/kafka/a.rs", &format!("{reasoned}{block}")));
        assert!(!fires(unsafe_code, "link/src/kafka/a.rs", &reasoned));
        assert!(!fires(unsafe_code, "sender/src/a.rs", "// unsafe in a comment\nlet a = \"unsafe\";\n"));
        assert!(!fires(unsafe_code, "link/src/lib.rs", "#![deny(unsafe_code)]\n"));
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let manifest = "[dependencies]\nwire.workspace = true\nreceiver.workspace = true\n";
        assert!(fires(dependencies, "sender/Cargo.toml", manifest));
        assert!(!fires(dependencies, "cli/Cargo.toml", manifest));
        assert!(fires(dependencies, "tests/Cargo.toml", manifest));
        assert!(!fires(dependencies, "tests/Cargo.toml", &manifest.replace("[dep", "[dev-dep")));
        assert!(fires(dependencies, "wire/Cargo.toml", "[dependencies]\nlink = { path = \"../link\" }\n"));
    }

    #[test]
    fn io_and_clocks_in_wire_are_found() {
        for line in ["use std::fs;", "let now = Instant::now();", "use std::net::IpAddr;"] {
            assert!(fires(wire_is_pure, "wire/src/a.rs", line), "{line}");
            assert!(!fires(wire_is_pure, "link/src/a.rs", line), "{line}");
        }
        assert!(!fires(wire_is_pure, "wire/src/a.rs", "// std::fs has no place here"));
    }

    #[test]
    fn dozing_and_skipped_tests_are_found() {
        assert!(fires(tests_do_not_doze, "tests/kafka_a.rs", "thread::sleep(SECOND);"));
        assert!(!fires(tests_do_not_doze, "tests/harness/wait.rs", "thread::sleep(SECOND);"));
        assert!(fires(tests_do_not_doze, "link/src/a.rs", "    #[ignore = \"slow\"]"));
        assert!(fires(tests_do_not_doze, "link/src/a.rs", "#[should_panic]"));
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        assert_eq!(code_of("a(\"b // c\") // d").trim_end(), "a()");
        assert_eq!(code_of("let quote = '\"'; x").trim_end(), "let quote = '\"'; x");
    }
}
