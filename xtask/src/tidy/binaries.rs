//! Test binaries of the workspace: each is linked by itself.

use std::collections::BTreeSet;

use super::tree::File;

/// Paths of the files that are the root of a test binary, as cargo finds them.
pub(super) fn binaries(files: &[File]) -> BTreeSet<String> {
    let mut binaries = BTreeSet::new();
    for manifest in files.iter().filter(|file| file.name() == "Cargo.toml") {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let mut in_test = false;
        for line in manifest.text.lines() {
            if line.starts_with('[') {
                in_test = line == "[[test]]";
            }
            let path = line.strip_prefix("path = \"").and_then(|rest| rest.split('"').next());
            binaries.extend(path.filter(|_| in_test).map(|path| format!("{folder}{path}")));
        }
        if !manifest.text.contains("autotests = false") {
            let place = format!("{folder}tests/");
            let found = files.iter().filter(|file| file.is_rust()).filter(|file| {
                let rest = file.path.strip_prefix(&place);
                rest.is_some_and(|rest| !rest.contains('/') || rest.split('/').skip(1).eq(["main.rs"]))
            });
            binaries.extend(found.map(|file| file.path.clone()));
        }
    }
    binaries
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn named_and_found_binaries_are_counted_once() {
        let files = tree(&[
            ("a/Cargo.toml", "[package]\n[[test]]\nname = \"tun\"\npath = \"tests/tun/main.rs\"\n"),
            ("a/tests/tun/main.rs", ""),
            ("a/tests/tun/other.rs", ""),
            ("a/tests/b.rs", ""),
            ("tests/Cargo.toml", "autotests = false\n[lib]\npath = \"lib.rs\"\n[[test]]\npath = \"kafka.rs\"\n"),
            ("tests/tests/c.rs", ""),
        ]);
        assert_eq!(
            binaries(&files).into_iter().collect::<Vec<_>>(),
            ["a/tests/b.rs", "a/tests/tun/main.rs", "tests/kafka.rs"]
        );
    }
}
