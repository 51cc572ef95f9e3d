//! Circles between files of a crate: files that need each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Modules, Target};
use super::tree::{Fault, File};

/// Files of each circle, one fault for each file. A file that only declares or re-exports its child modules does not
/// use them.
pub(super) fn files_in_circles(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for circle in circles(files) {
        let names: Vec<&str> = circle.iter().map(|file| files[*file].path.as_str()).collect();
        for file in &circle {
            faults.push(Fault::new(
                &files[*file],
                1,
                format!("is in a circle of {}: {}", names.len(), names.join(" ")),
            ));
        }
    }
    faults
}

/// The circles, each as the sorted indexes of its files.
pub(super) fn circles(files: &[File]) -> Vec<Vec<usize>> {
    let uses = uses(&Modules::of(files));
    let reach: BTreeMap<usize, BTreeSet<usize>> = uses.keys().map(|file| (*file, reachable(*file, &uses))).collect();
    let mut circles: Vec<Vec<usize>> = Vec::new();
    for (file, reached) in &reach {
        let is_new = !circles.iter().any(|circle| circle.contains(file));
        if is_new && reached.contains(file) {
            circles.push(reached.iter().copied().filter(|other| returns(&reach, *other, *file)).collect());
        }
    }
    circles
}

fn returns(reach: &BTreeMap<usize, BTreeSet<usize>>, from: usize, to: usize) -> bool {
    reach.get(&from).is_some_and(|reached| reached.contains(&to))
}

/// Files that each file uses.
fn uses(modules: &Modules) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut uses: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (id, module) in modules.iter() {
        let mut add = |target: usize| {
            let file = modules.file_of(target);
            // Children that extend a type of their parent need it.
            if file != module.file && !modules.is_within(id, target) {
                uses.entry(module.file).or_default().insert(file);
            }
        };
        for import in &module.imports {
            let target = match modules.resolve(id, &import.path) {
                Some(Target::Item(target)) => target,
                Some(Target::Module(target)) if import.is_glob => target,
                // A module by itself is only a name; what is used of it shows in the paths.
                _ => continue,
            };
            if !(import.is_public && modules.is_within(target, id)) {
                add(target);
            }
        }
        for path in &module.paths {
            if let Some(Target::Item(target)) = modules.resolve(id, path) {
                add(target);
            }
        }
    }
    uses
}

fn reachable(from: usize, uses: &BTreeMap<usize, BTreeSet<usize>>) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        for next in uses.get(&file).into_iter().flatten() {
            if reached.insert(*next) {
                waiting.push(*next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    /// Names of the files in circles.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        files_in_circles(&tree(files)).into_iter().map(|fault| fault.path).collect()
    }

    const ROOT: (&str, &str) = ("x/src/lib.rs", "mod a; mod b; mod c;");

    #[test]
    fn siblings_that_use_each_other_are_found() {
        let a = ("x/src/a.rs", "use crate::b::B; pub struct A(B);");
        for b in [
            "pub struct B; fn f(_: super::a::A) {}",
            "use crate::a; pub struct B; fn f(_: a::A) {}",
            "pub struct B; fn f() { g!(h, crate::a::A) }",
            "use super::*; pub struct B; fn f(_: a::A) {}",
        ] {
            assert_eq!(found(&[ROOT, a, ("x/src/b.rs", b)]), ["x/src/a.rs", "x/src/b.rs"], "{b}");
        }
        assert!(found(&[ROOT, a, ("x/src/b.rs", "use crate::a; pub struct B;")]).is_empty());
        assert!(
            found(&[ROOT, a, ("x/src/b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }")]).is_empty()
        );
    }

    #[test]
    fn a_circle_through_a_third_file_is_found() {
        let files = [
            ROOT,
            ("x/src/a.rs", "use crate::b::B; pub struct A;"),
            ("x/src/b.rs", "use crate::c::C; pub struct B;"),
            ("x/src/c.rs", "use crate::a::A; pub struct C;"),
        ];
        assert_eq!(found(&files).len(), 3);
    }

    #[test]
    fn a_parent_and_its_child_are_no_circle() {
        let child = ("x/src/a/d.rs", "use super::A; pub struct D(A);");
        let re_exports = ("x/src/a.rs", "mod d; pub use d::D; pub struct A;");
        assert!(found(&[ROOT, re_exports, child]).is_empty());
        let uses = ("x/src/a.rs", "mod d; pub use d::D; pub struct A; fn f(_: D) {}");
        assert!(found(&[ROOT, uses, child]).is_empty());
    }

    #[test]
    fn a_re_export_leads_to_the_file_of_the_item() {
        let parent = ("x/src/a.rs", "mod d; pub use d::*; pub struct A;");
        let child = ("x/src/a/d.rs", "pub struct D;");
        let files =
            |a: (&'static str, &'static str), b: &'static str| found(&[ROOT, a, child, ("x/src/b.rs", b)]).len();
        assert_eq!(files(parent, "use crate::a::D; pub struct B(D);"), 0);
        let uses = ("x/src/a.rs", "mod d; pub use d::D; pub struct A(crate::b::B);");
        assert_eq!(files(uses, "use crate::a::D; pub struct B(D);"), 0);
        assert_eq!(files(uses, "use crate::a::{A, D}; pub struct B(D, A);"), 2);
    }
}
