//! Modules of each crate: the files that declare them, and the targets of the paths in them.

use std::collections::{HashMap, HashSet};

use proc_macro2::{LineColumn, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::tree::File;

/// Names that are followed through re-exports, at most; more would be a circle of re-exports.
const HOPS_MAX: usize = 16;

/// Indexes of files in the tree by their paths.
type Index<'a> = HashMap<&'a str, usize>;

/// The number of a module in [`Modules`].
pub(super) type Id = usize;

/// A module: a file, or a `mod name { .. }` within one.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The index of its file among the files of the tree.
    pub(super) file: usize,
    parent: Option<Id>,
    children: HashMap<String, Id>,
    /// Names of its own functions, types, constants and macros.
    items: HashSet<String>,
    /// Names that a `use` brings in, with the paths that they stand for.
    names: HashMap<String, Vec<String>>,
    pub(super) imports: Vec<Import>,
    /// Paths in its code, outside `use`.
    pub(super) paths: Vec<Vec<String>>,
}

/// A name, or all names of a module, that a `use` brings in.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) is_glob: bool,
    pub(super) is_public: bool,
}

/// The target of a path: a module itself, or something that a module contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Module(Id),
    Item(Id),
}

/// All modules of the tree, without those for tests.
#[derive(Debug, Default)]
pub(super) struct Modules {
    all: Vec<Module>,
}

impl Modules {
    pub(super) fn of(files: &[File]) -> Self {
        let index = index_of(files);
        let tests = test_files(files);
        let children: HashSet<String> =
            files.iter().flat_map(|file| child_files(file, &index)).map(|c| c.path).collect();
        let mut modules = Self::default();
        for (at, file) in files.iter().enumerate().filter(|(_, file)| file.is_rust()) {
            if !children.contains(&file.path) && !tests.contains(file.path.as_str()) {
                let root = modules.add(at, None);
                modules.fill(root, file.items(), files, &index);
            }
        }
        modules
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Module)> {
        self.all.iter().enumerate()
    }

    pub(super) fn file_of(&self, id: Id) -> usize {
        self.all[id].file
    }

    /// Returns whether `id` is `ancestor` or below it.
    pub(super) fn is_within(&self, id: Id, ancestor: Id) -> bool {
        id == ancestor || self.all[id].parent.is_some_and(|parent| self.is_within(parent, ancestor))
    }

    /// The target of `path` from within `from`; `None` if it leads out of the crate or is a local name.
    pub(super) fn resolve(&self, from: Id, path: &[String]) -> Option<Target> {
        self.resolve_within(from, path, HOPS_MAX)
    }

    fn resolve_within(&self, from: Id, path: &[String], hops: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Target::Module(self.root_of(from)),
            "self" => Target::Module(from),
            "super" => Target::Module(self.all[from].parent?),
            name => self.find(from, name, hops.checked_sub(1)?)?,
        };
        self.walk(start, rest, hops)
    }

    fn walk(&self, start: Target, rest: &[String], hops: usize) -> Option<Target> {
        let Target::Module(module) = start else { return Some(start) };
        let Some((next, rest)) = rest.split_first() else { return Some(start) };
        if next == "super" {
            return self.walk(Target::Module(self.all[module].parent?), rest, hops);
        }
        // A name that no item has comes from a macro: it belongs to the module that is named.
        let found = hops.checked_sub(1).and_then(|hops| self.find(module, next, hops));
        self.walk(found.unwrap_or(Target::Item(module)), rest, hops)
    }

    /// The target of `name` within a module.
    fn find(&self, id: Id, name: &str, hops: usize) -> Option<Target> {
        let module = &self.all[id];
        if let Some(child) = module.children.get(name) {
            return Some(Target::Module(*child));
        }
        if module.items.contains(name) {
            return Some(Target::Item(id));
        }
        let hops = hops.checked_sub(1)?;
        if let Some(path) = module.names.get(name) {
            return self.resolve_within(id, path, hops);
        }
        module.imports.iter().filter(|import| import.is_glob).find_map(|import| {
            match self.resolve_within(id, &import.path, hops)? {
                Target::Module(other) if other != id => self.find(other, name, hops),
                _ => None,
            }
        })
    }

    fn root_of(&self, id: Id) -> Id {
        self.all[id].parent.map_or(id, |parent| self.root_of(parent))
    }

    fn add(&mut self, file: usize, parent: Option<Id>) -> Id {
        self.all.push(Module { file, parent, ..Module::default() });
        self.all.len() - 1
    }

    /// Reads the items of a module, and adds the modules that it declares.
    fn fill(&mut self, id: Id, items: &[syn::Item], files: &[File], index: &Index<'_>) {
        let own = self.all[id].file;
        let declared = child_files(&files[own], index);
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            let syn::Item::Mod(module) = item else {
                let mut reader = Reader { module: &mut self.all[id] };
                reader.module.items.extend(head(item).1.map(ToString::to_string));
                reader.visit_item(item);
                continue;
            };
            let name = module.ident.to_string();
            let (file, items) = match &module.content {
                Some((_, items)) => (own, items.as_slice()),
                None => {
                    let at = module.ident.span().start();
                    let Some(child) = declared.iter().find(|child| child.at == at) else { continue };
                    (index[child.path.as_str()], files[index[child.path.as_str()]].items())
                }
            };
            let child = self.add(file, Some(id));
            self.all[id].children.insert(name, child);
            self.fill(child, items, files, index);
        }
    }
}

/// Collects the paths and imports of one module.
struct Reader<'a> {
    module: &'a mut Module,
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        let is_public = !matches!(import.vis, syn::Visibility::Inherited);
        self.add_imports(&import.tree, &mut Vec::new(), is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.module.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.add_paths(call.tokens.clone());
    }
}

impl Reader<'_> {
    fn add_imports(&mut self, tree: &syn::UseTree, path: &mut Vec<String>, is_public: bool) {
        let (last, alias) = match tree {
            syn::UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.add_imports(&step.tree, path, is_public);
                path.pop();
                return;
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_imports(tree, path, is_public));
                return;
            }
            syn::UseTree::Glob(_) => {
                self.module.imports.push(Import { path: path.clone(), is_glob: true, is_public });
                return;
            }
            syn::UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
            syn::UseTree::Rename(rename) => (rename.ident.to_string(), rename.rename.to_string()),
        };
        let mut whole = path.clone();
        let is_self = last == "self";
        let alias = if is_self && alias == "self" { whole.last().cloned().unwrap_or_default() } else { alias };
        if !is_self {
            whole.push(last);
        }
        // `use name::..` of another crate would lead to itself.
        if whole.len() > 1 || whole.first() != Some(&alias) {
            self.module.names.insert(alias, whole.clone());
        }
        self.module.imports.push(Import { path: whole, is_glob: false, is_public });
    }

    /// Paths in the body of a macro call, which the parser does not read.
    fn add_paths(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.module.paths.push(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.add_paths(group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => colons = 0,
            }
        }
        self.module.paths.push(path);
    }
}

/// A file that another declares by `mod name;`.
#[derive(Debug)]
struct ChildFile {
    path: String,
    /// The place of the name in the file that declares it.
    at: LineColumn,
    is_for_tests: bool,
}

fn child_files(file: &File, index: &Index<'_>) -> Vec<ChildFile> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let stem = name.trim_end_matches(".rs");
    let own = if folder.is_empty() { stem.to_owned() } else { format!("{folder}/{stem}") };
    // Roots such as `lib.rs` and `tests/name.rs` have their modules next to them.
    let folders =
        if ["lib", "main", "mod"].contains(&stem) { vec![folder.to_owned()] } else { vec![own, folder.to_owned()] };
    let mut found = Vec::new();
    add_child_files(file.items(), &folders, index, &mut found);
    found.retain(|child| child.path != file.path);
    found
}

fn add_child_files(items: &[syn::Item], folders: &[String], index: &Index<'_>, found: &mut Vec<ChildFile>) {
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        if let Some((_, items)) = &module.content {
            let folders: Vec<_> = folders.iter().map(|folder| format!("{folder}/{name}")).collect();
            add_child_files(items, &folders, index, found);
            continue;
        }
        let by_attribute = path_attribute(&module.attrs);
        let places = folders.iter().flat_map(|folder| match &by_attribute {
            Some(path) => vec![format!("{folder}/{path}")],
            None => vec![format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")],
        });
        if let Some(path) = places.into_iter().find(|path| index.contains_key(path.as_str())) {
            let at = module.ident.span().start();
            found.push(ChildFile { path, at, is_for_tests: is_for_tests(&module.attrs) });
        }
    }
}

/// Paths of files that are compiled for tests only.
pub(super) fn test_files(files: &[File]) -> HashSet<String> {
    let index = index_of(files);
    let children = files.iter().flat_map(|file| child_files(file, &index));
    let declared: Vec<String> = children.filter(|child| child.is_for_tests).map(|child| child.path).collect();
    let rust = files.iter().filter(|file| file.is_rust());
    rust.filter(|file| {
        let path = &file.path;
        let is_below = |test: &String| path.starts_with(&format!("{}/", test.trim_end_matches(".rs")));
        let by_name = path.contains("/src/") && (path.contains("/tests/") || path.ends_with("/tests.rs"));
        by_name || declared.iter().any(|test| test == path || is_below(test))
    })
    .map(|file| file.path.clone())
    .collect()
}

/// Returns whether an item is compiled for tests only.
pub(super) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string();
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all (test"))
    })
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value else { return None };
        pair.path.is_ident("path").then(|| path.value())
    })
}

/// Attributes of an item.
pub(super) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    head(item).0
}

/// Attributes and name of an item.
fn head(item: &syn::Item) -> (&[syn::Attribute], Option<&syn::Ident>) {
    match item {
        syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        syn::Item::Impl(item) => (&item.attrs, None),
        syn::Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        syn::Item::Mod(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Use(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}

fn index_of(files: &[File]) -> Index<'_> {
    files.iter().enumerate().map(|(at, file)| (file.path.as_str(), at)).collect()
}
