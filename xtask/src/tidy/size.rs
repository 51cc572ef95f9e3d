//! Measures of size and shape: long files, functions and names, many parameters, folded lets, product lines.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::modules::{attributes, is_for_tests, test_files};
use super::tree::{Fault, File};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;
const PARAMETERS_MAX: usize = 6;
const NAME_CHARACTERS_MAX: usize = 60;

/// Files that are too long.
pub(super) fn long_files(files: &[File]) -> Vec<Fault> {
    let lengths = rust(files).map(|file| (file, file.text.lines().count()));
    lengths
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(file, lines)| Fault::new(file, FILE_LINES_MAX, format!("the file has {lines} lines")))
        .collect()
}

/// Functions with too many lines of code in their body. Blank lines and comments do not count, as in clippy.
pub(super) fn long_functions(files: &[File]) -> Vec<Fault> {
    functions_where(files, |function| {
        let too_long = function.lines > FUNCTION_LINES_MAX;
        too_long.then(|| format!("fn {} has {} lines of code", function.name, function.lines))
    })
}

/// Functions with too many parameters, `self` included.
pub(super) fn many_parameters(files: &[File]) -> Vec<Fault> {
    functions_where(files, |function| {
        let too_many = function.parameters > PARAMETERS_MAX;
        too_many.then(|| format!("fn {} has {} parameters", function.name, function.parameters))
    })
}

/// Parameters that are tuples: two arguments behind one comma.
pub(super) fn tuple_parameters(files: &[File]) -> Vec<Fault> {
    functions_where(files, |function| {
        let hides = function.tuples > 0;
        hides.then(|| format!("fn {} takes a tuple apart in its parameters", function.name))
    })
}

/// Functions whose name is too long for one line of a list of failed tests.
pub(super) fn long_names(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in rust(files) {
        each_group(file, &mut |tokens| {
            for pair in tokens.windows(2) {
                let [TokenTree::Ident(keyword), TokenTree::Ident(name)] = pair else { continue };
                let length = name.to_string().len();
                if keyword == "fn" && length > NAME_CHARACTERS_MAX {
                    let what = format!("fn {name} has a name of {length} characters");
                    faults.push(Fault::new(file, name.span().start().line, what));
                }
            }
        });
    }
    faults
}

/// Statements `let (a, b) = (x, y);`, which write two statements as one.
pub(super) fn folded_lets(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in rust(files) {
        each_group(file, &mut |tokens| {
            for (at, token) in tokens.iter().enumerate() {
                if is_ident(token, "let") && is_folded(&tokens[at + 1..]) {
                    let what = "write one `let` for each name, or find the type that joins them";
                    faults.push(Fault::new(file, token.span().start().line, what));
                }
            }
        });
    }
    faults
}

/// Returns whether the tokens behind a `let` are `(pattern, ..) = (value, ..);`.
fn is_folded(tokens: &[TokenTree]) -> bool {
    let [pattern, rest @ ..] = tokens else { return false };
    // A type may be between the pattern and the `=`.
    let Some(equals) = rest.iter().position(|token| is_punct(token, '=') || is_punct(token, ';')) else { return false };
    let [equals, value, end, ..] = &rest[equals..] else { return false };
    is_tuple(pattern) && is_punct(equals, '=') && is_tuple(value) && is_punct(end, ';')
}

fn is_tuple(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    group.delimiter() == Delimiter::Parenthesis && group.stream().into_iter().any(|token| is_punct(&token, ','))
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn is_ident(token: &TokenTree, wanted: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == wanted)
}

/// Lines of a crate's product code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) files: usize,
    pub(super) total: usize,
    /// Lines that are neither blank nor comments.
    pub(super) code: usize,
}

impl Lines {
    pub(super) fn plus(self, other: Self) -> Self {
        Self { files: self.files + other.files, total: self.total + other.total, code: self.code + other.code }
    }
}

/// Lines in the `src` folder of a crate, without test files and without items under `#[cfg(test)]`.
pub(super) fn product_lines(crate_name: &str, files: &[File]) -> Lines {
    let tests = test_files(files);
    let place = format!("{crate_name}/src/");
    let mut lines = Lines::default();
    for file in rust(files).filter(|file| file.is_under(&place) && !tests.contains(file.path.as_str())) {
        let inline_tests = lines_of_tests(file);
        let is_product = |number: &usize| !inline_tests.iter().any(|(first, last)| (*first..=*last).contains(number));
        lines.files += 1;
        for (_, line) in file.lines().filter(|(number, _)| is_product(number)) {
            lines.total += 1;
            lines.code += usize::from(is_code(line));
        }
    }
    lines
}

/// First and last lines of a file's items under `#[cfg(test)]`.
fn lines_of_tests(file: &File) -> Vec<(usize, usize)> {
    let tests = file.items().iter().filter(|item| is_for_tests(attributes(item)));
    tests.map(|item| (item.span().start().line, item.span().end().line)).collect()
}

fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}

/// A function with a body.
struct Function {
    name: String,
    line: usize,
    lines: usize,
    parameters: usize,
    tuples: usize,
}

struct Functions<'a> {
    text: Vec<&'a str>,
    found: Vec<Function>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, body: Option<&syn::Block>) {
        let is_tuple =
            |input: &&syn::FnArg| matches!(input, syn::FnArg::Typed(typed) if matches!(*typed.pat, syn::Pat::Tuple(_)));
        self.found.push(Function {
            name: signature.ident.to_string(),
            line: signature.ident.span().start().line,
            lines: body.map_or(0, |body| self.lines_within(body)),
            // A C library chooses what it passes to a callback.
            parameters: if signature.abi.is_some() { 0 } else { signature.inputs.len() },
            tuples: signature.inputs.iter().filter(is_tuple).count(),
        });
    }

    /// Lines of code between the braces of a body.
    fn lines_within(&self, body: &syn::Block) -> usize {
        let first = body.brace_token.span.open().start().line;
        let last = body.brace_token.span.close().start().line;
        let inner = self.text.get(first..last.saturating_sub(1)).unwrap_or_default();
        inner.iter().filter(|line| is_code(line)).count()
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, Some(&function.block));
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, Some(&function.block));
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.add(&function.sig, function.default.as_ref());
        visit::visit_trait_item_fn(self, function);
    }
}

fn functions_where(files: &[File], complaint: impl Fn(&Function) -> Option<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in rust(files) {
        let mut functions = Functions { text: file.text.lines().collect(), found: Vec::new() };
        file.items().iter().for_each(|item| functions.visit_item(item));
        for function in &functions.found {
            faults.extend(complaint(function).map(|what| Fault::new(file, function.line, what)));
        }
    }
    faults
}

/// Calls `look` with the tokens of the file and of every group in it, the bodies of macro calls included.
fn each_group(file: &File, look: &mut impl FnMut(&[TokenTree])) {
    fn descend(tokens: TokenStream, look: &mut impl FnMut(&[TokenTree])) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        look(&tokens);
        for token in tokens {
            if let TokenTree::Group(group) = token {
                descend(group.stream(), look);
            }
        }
    }
    if let Some(rust) = &file.rust {
        descend(rust.tokens.clone(), look);
    }
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.is_rust())
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn count(rule: fn(&[File]) -> Vec<Fault>, text: &str) -> usize {
        rule(&tree(&[("a/src/b.rs", text)])).len()
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(count(long_files, &"\n".repeat(601)), 1);
        assert_eq!(count(long_files, &"\n".repeat(600)), 0);
    }

    #[test]
    fn a_long_function_is_found_wherever_it_is() {
        let body = |lines: usize| "    f();\n\n    // why\n".repeat(lines);
        for (head, tail) in
            [("fn g() {\n", "}\n"), ("impl A { fn g(self) {\n", "} }\n"), ("mod m { fn g() {\n", "} }\n")]
        {
            assert_eq!(count(long_functions, &format!("{head}{}{tail}", body(81))), 1, "{head}");
            assert_eq!(count(long_functions, &format!("{head}{}{tail}", body(80))), 0, "{head}");
        }
    }

    #[test]
    fn many_parameters_are_found() {
        assert_eq!(count(many_parameters, "fn f(a: A, b: A, c: A, d: A, e: A, f: A, g: A) {}"), 1);
        assert_eq!(count(many_parameters, "extern \"C\" fn f(a: A, b: A, c: A, d: A, e: A, f: A, g: A) {}"), 0);
        assert_eq!(count(many_parameters, "trait T { fn f(&self, b: A, c: A, d: A, e: A, f: A, g: A); }"), 1);
        assert_eq!(count(many_parameters, "fn f(a: HashMap<A, B>, b: A, c: A, d: A, e: A, f: A) {}"), 0);
    }

    #[test]
    fn a_tuple_in_the_parameters_is_found() {
        assert_eq!(count(tuple_parameters, "fn f((a, b): (A, B)) {}"), 1);
        assert_eq!(count(tuple_parameters, "fn f(a: (A, B), Wrapper(b): Wrapper) {}"), 0);
    }

    #[test]
    fn a_long_name_is_found() {
        let name = "a".repeat(61);
        assert_eq!(count(long_names, &format!("fn {name}() {{}}")), 1);
        assert_eq!(count(long_names, &format!("proptest! {{ #[test] fn {name}(a in any()) {{}} }}")), 1);
        assert_eq!(count(long_names, &format!("fn {}() {{}}", &name[1..])), 0);
    }

    #[test]
    fn folded_lets_are_found() {
        for folded in [
            "let (a, b) = (1, 2);",
            "let (a, b): (u8, u8) = (1, 2);",
            "let (a,\n b) =\n (1,\n 2);",
            "select! { _ = x => { let (mut a, _) = (f(), g()); } }",
        ] {
            assert_eq!(count(folded_lets, &format!("fn f() {{ {folded} }}")), 1, "{folded}");
        }
        for fine in [
            "let (a, b) = pair();",
            "let pair = (1, 2);",
            "let (a, b) = (1, 2).swapped();",
            "if let (Some(a), Some(b)) = (x, y) {}",
            "let (Some(a), Some(b)) = (x, y) else { return };",
            "let (a) = (1);",
        ] {
            assert_eq!(count(folded_lets, &format!("fn f() {{ {fine} }}")), 0, "{fine}");
        }
    }

    #[test]
    fn product_lines_leave_out_tests() {
        let library = "//! A.\n\nmod b;\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n";
        let files = tree(&[
            ("a/src/lib.rs", library),
            ("a/src/b.rs", "//! B.\n#[cfg(test)]\nmod fakes;\n"),
            ("a/src/b/fakes.rs", "fn h() {}\n"),
            ("a/src/b/tests.rs", "fn h() {}\n"),
            ("a/tests/c.rs", "fn h() {}\n"),
        ]);
        assert_eq!(product_lines("a", &files), Lines { files: 2, total: 6, code: 2 });
    }
}
