//! Rules between crates: dependencies, `unsafe`, the purity of `wire`, and the number of top-level modules.

use super::modules::is_for_tests;
use super::rust::code_of;
use super::tree::{Fault, File, has_word};

/// The only crate that may contain `unsafe`: the shim over librdkafka.
const UNSAFE_CRATE: &str = "kafka";

/// The crates of ours that each crate may depend on. Dependencies point one way. A crate that is not there is skipped.
const MAY_USE: [(&str, &[&str]); 14] = [
    ("wire", &["shape"]),
    ("shape", &[]),
    ("netem", &["wire"]),
    ("service", &["wire"]),
    ("kafka", &["wire", "service"]),
    ("transport", &["wire", "service"]),
    ("sender", &["wire", "shape", "service", "kafka", "transport"]),
    ("receiver", &["wire", "service", "kafka", "transport"]),
    ("testkit", &["wire", "service", "kafka", "transport", "sender", "receiver"]),
    ("demo", &["wire", "service", "kafka", "transport", "sender", "receiver", "testkit", "netem"]),
    ("cli", &["wire", "shape", "service", "kafka", "transport", "sender", "receiver", "testkit", "netem", "demo"]),
    // The harness shares no code with the product that it checks. The tests next to it may use every crate.
    ("tests", &[]),
    ("benches", &["wire", "service", "kafka", "transport", "sender", "receiver", "testkit", "netem", "demo"]),
    ("xtask", &[]),
];

/// Crates that the tests of every crate may use: an emulated WAN and clusters in memory.
const FOR_TESTS: [&str; 2] = ["netem", "testkit"];

/// Names that `wire` must not contain: time and bytes are its arguments.
const IMPURE: [&str; 6] = ["std::net", "std::fs", "std::thread", "tokio", "Instant::now", "SystemTime::now"];

/// Folders at the root that are crates.
pub(super) fn crates(files: &[File]) -> Vec<&str> {
    let manifests = files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
    manifests.filter(|folder| !folder.contains('/')).collect()
}

/// `unsafe` occurs in one crate only, and each block has a `SAFETY:` comment.
pub(super) fn unsafe_code(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let mut reason = false;
        for (number, line) in file.lines() {
            let code = code_of(line);
            reason |= line.contains("SAFETY:");
            if has_word(&code, "unsafe") {
                if !file.is_under(&format!("{UNSAFE_CRATE}/")) {
                    faults.push(Fault::new(file, number, format!("`unsafe` outside the crate {UNSAFE_CRATE}")));
                } else if code.contains("unsafe {") && !reason {
                    faults.push(Fault::new(file, number, "`unsafe` without a `// SAFETY:` above it"));
                }
            }
            // A reason is valid for the statement below it, with comment lines in between.
            if !code.trim().is_empty() && (code.contains(';') || code.contains('{') || code.contains('}')) {
                reason = false;
            }
        }
    }
    faults
}

/// Crates, other than the one that needs `unsafe`, whose root lacks `#![forbid(unsafe_code)]`.
pub(super) fn not_forbidding_unsafe(files: &[File]) -> Vec<Fault> {
    let roots = crates(files).into_iter().filter(|name| *name != UNSAFE_CRATE).filter_map(|name| root_of(name, files));
    let missing = roots.filter(|file| !forbids_unsafe(file));
    missing.map(|file| Fault::new(file, 1, "the crate's root lacks `#![forbid(unsafe_code)]`")).collect()
}

/// The root file of a crate: its library, or its program where it has no library.
fn root_of<'a>(name: &str, files: &'a [File]) -> Option<&'a File> {
    let places = ["src/lib.rs", "src/main.rs", "harness/lib.rs"].map(|place| format!("{name}/{place}"));
    places.iter().find_map(|place| files.iter().find(|file| file.path == *place))
}

fn forbids_unsafe(file: &File) -> bool {
    let attributes = file.rust.as_ref().map_or(&[][..], |rust| &rust.attributes);
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("forbid") && has_word(&list.tokens.to_string(), "unsafe_code")
    })
}

/// Dependencies between our crates point one way.
pub(super) fn dependencies(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (crate_name, allowed) in MAY_USE {
        let manifest = format!("{crate_name}/Cargo.toml");
        let Some(file) = files.iter().find(|file| file.path == manifest) else {
            continue;
        };
        let mut section = "";
        for (number, line) in file.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = MAY_USE.iter().any(|(other, _)| *other == name);
            let may = match section {
                "[dependencies]" => allowed.contains(&name),
                "[dev-dependencies]" => crate_name == "tests" || allowed.contains(&name) || FOR_TESTS.contains(&name),
                _ => true,
            };
            if ours && !may {
                faults.push(Fault::new(file, number, format!("{crate_name} must not depend on {name}")));
            }
        }
    }
    faults
}

/// `wire` does no I/O and reads no clock.
pub(super) fn wire_is_pure(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && file.is_under("wire/src/")) {
        for (number, line) in file.lines() {
            for impure in IMPURE.iter().filter(|impure| has_word(&code_of(line), impure)) {
                let what = format!("wire does no I/O and reads no clock, but this line uses {impure}");
                faults.push(Fault::new(file, number, what));
            }
        }
    }
    faults
}

/// Top-level modules of a crate's library, without test modules.
pub(super) fn rooms(crate_name: &str, files: &[File]) -> usize {
    let path = format!("{crate_name}/src/lib.rs");
    let items = files.iter().find(|file| file.path == path).map_or(&[][..], File::items);
    items.iter().filter(|item| matches!(item, syn::Item::Mod(module) if !is_for_tests(&module.attrs))).count()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn fires(rule: fn(&[File]) -> Vec<Fault>, path: &str, text: &str) -> bool {
        !rule(&tree(&[(path, text)])).is_empty()
    }

    #[test]
    fn unsafe_out_of_place_or_without_reason_is_found() {
        let shim = format!("{UNSAFE_CRATE}/src/a.rs");
        let block = "let a = unsafe { f() };\n";
        let reasoned = format!("// SAFETY: f is fine,\n// always.\n{block}");
        assert!(fires(unsafe_code, "sender/src/a.rs", &reasoned));
        assert!(fires(unsafe_code, &shim, block));
        assert!(fires(unsafe_code, &shim, &format!("{reasoned}{block}")));
        assert!(!fires(unsafe_code, &shim, &reasoned));
        assert!(!fires(unsafe_code, "sender/src/a.rs", "// unsafe in a comment\nlet a = \"unsafe\";\n"));
        assert!(!fires(unsafe_code, "sender/src/lib.rs", "#![deny(unsafe_code)]\n"));
    }

    #[test]
    fn a_crate_that_does_not_forbid_unsafe_is_found() {
        let found = |root: &str| {
            let shim = (format!("{UNSAFE_CRATE}/Cargo.toml"), format!("{UNSAFE_CRATE}/src/lib.rs"));
            let files = [("wire/Cargo.toml", ""), ("wire/src/lib.rs", root), (&shim.0, ""), (&shim.1, "")];
            not_forbidding_unsafe(&tree(&files)).len()
        };
        assert_eq!(found("#![forbid(unsafe_code)]\n"), 0);
        assert_eq!(found("#![deny(unsafe_code)]\n"), 1);
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let manifest = "[dependencies]\nwire.workspace = true\nreceiver.workspace = true\n";
        assert!(fires(dependencies, "sender/Cargo.toml", manifest));
        assert!(!fires(dependencies, "cli/Cargo.toml", manifest));
        assert!(fires(dependencies, "tests/Cargo.toml", manifest));
        assert!(!fires(dependencies, "tests/Cargo.toml", &manifest.replace("[dep", "[dev-dep")));
        assert!(fires(dependencies, "wire/Cargo.toml", "[dependencies]\nkafka = { path = \"../kafka\" }\n"));
        let emulated = "[dependencies]\nnetem.workspace = true\n";
        assert!(fires(dependencies, "sender/Cargo.toml", emulated));
        assert!(!fires(dependencies, "sender/Cargo.toml", &emulated.replace("[dep", "[dev-dep")));
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
    fn rooms_are_counted_without_tests() {
        let root = "pub mod a;\nmod b;\n#[cfg(test)]\nmod fakes;\nuse a::A;\n";
        assert_eq!(rooms("sender", &tree(&[("sender/src/lib.rs", root)])), 2);
    }
}
