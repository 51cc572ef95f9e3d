//! Constants that documents name exist, and have the value that a document gives: `` `REDIAL_MAX` (1 s) ``.

use std::collections::HashMap;

use syn::visit::Visit;

use super::tree::{Fault, File, backticked, has_word};

/// References from constant to constant that are followed, at most.
const HOPS_MAX: usize = 8;

/// Units that documents use, each with what it multiplies and whether that is a time.
const UNITS: [(&str, f64, bool); 15] = [
    ("ns", 1e-9, true),
    ("µs", 1e-6, true),
    ("us", 1e-6, true),
    ("ms", 1e-3, true),
    ("s", 1.0, true),
    ("min", 60.0, true),
    ("h", 3600.0, true),
    ("%", 0.01, false),
    ("B", 1.0, false),
    ("kB", 1e3, false),
    ("MB", 1e6, false),
    ("GB", 1e9, false),
    ("KiB", 1024.0, false),
    ("MiB", 1048576.0, false),
    ("GiB", 1073741824.0, false),
];

/// The value of a constant, as far as it can be computed without a compiler.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Number(f64),
    Seconds(f64),
}

/// Constants by name. Several files may have one of the same name.
type Constants = HashMap<String, Vec<syn::Expr>>;

/// Every name like `REDIAL_MAX` between backticks in a document occurs in the code; where a number in parentheses
/// follows it, that is the constant's value.
pub(super) fn named_constants(files: &[File]) -> Vec<Fault> {
    let constants = constants(files);
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown() && file.path != "CHANGELOG.md") {
        for paragraph in file.paragraphs() {
            for (at, code) in backticked(&paragraph.text) {
                let behind = paragraph.text.get(at + code.len() + 1..).unwrap_or_default();
                let what = complaint(code, behind, &constants, files);
                faults.extend(what.map(|what| Fault::new(file, paragraph.line_at(at), what)));
            }
        }
    }
    faults
}

/// A sentence about `code` between backticks, if it is a constant and does not agree with the code.
fn complaint(code: &str, behind: &str, constants: &Constants, files: &[File]) -> Option<String> {
    let name = code.rsplit("::").next().filter(|name| is_constant(name))?;
    let parenthesis = behind.strip_prefix(" (").and_then(|rest| rest.split(')').next());
    let Some(stated) = parenthesis.and_then(Stated::parse) else {
        return (!is_in_code(name, files)).then(|| format!("no code contains {name}"));
    };
    let named = constants.get(name).map_or(&[][..], Vec::as_slice);
    let values: Vec<Value> = named.iter().filter_map(|e| value(e, constants, HOPS_MAX)).collect();
    let agrees = values.iter().any(|value| stated.is(*value));
    (!agrees).then(|| format!("says that {name} is {}; the code says {}", stated.text, shown(&values)))
}

fn shown(values: &[Value]) -> String {
    let shown = values.iter().map(|value| match value {
        Value::Number(number) => number.to_string(),
        Value::Seconds(seconds) => format!("{seconds} s"),
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "no value that can be read".to_owned() } else { shown.join(" or ") }
}

fn is_constant(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.len() > 2
        && name.contains('_')
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(is_part)
}

fn is_in_code(name: &str, files: &[File]) -> bool {
    files.iter().filter(|file| !file.is_markdown()).any(|file| has_word(&file.text, name))
}

/// A quantity as a document states it.
struct Stated<'a> {
    text: &'a str,
    number: f64,
    /// The number in the unit's base, seconds or bytes, and whether it is a time.
    scaled: Option<(f64, bool)>,
}

impl<'a> Stated<'a> {
    /// `None` if the text does not begin with a number.
    fn parse(text: &'a str) -> Option<Self> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || "._,".contains(c))).unwrap_or(text.len());
        let digits: String = text[..end].trim_end_matches([',', '.']).chars().filter(|c| !"_,".contains(*c)).collect();
        let number: f64 = digits.parse().ok()?;
        let unit = text[end..].trim_start().split([' ', ',', ';', ':']).next().unwrap_or_default();
        let unit = UNITS.iter().find(|(name, ..)| *name == unit);
        Some(Self { text, number, scaled: unit.map(|(_, factor, is_time)| (number * factor, *is_time)) })
    }

    fn is(&self, value: Value) -> bool {
        let same = |a: f64, b: f64| (a - b).abs() <= a.abs().max(b.abs()) * 1e-9;
        match (value, self.scaled) {
            (Value::Seconds(seconds), Some((stated, true))) => same(seconds, stated),
            (Value::Seconds(_), _) => false,
            // A number may have its unit in its name: `WAIT_MS` (200 ms).
            (Value::Number(number), scaled) => {
                same(number, self.number) || scaled.is_some_and(|(stated, _)| same(number, stated))
            }
        }
    }
}

/// The value of an expression of literals, other constants, `+ - * / <<`, and constructors such as
/// `Duration::from_millis`.
fn value(expression: &syn::Expr, constants: &Constants, hops: usize) -> Option<Value> {
    let within = |inner: &syn::Expr| value(inner, constants, hops);
    match expression {
        syn::Expr::Lit(literal) => match &literal.lit {
            syn::Lit::Int(number) => number.base10_parse::<u128>().ok().map(|number| Value::Number(number as f64)),
            syn::Lit::Float(number) => number.base10_parse().ok().map(Value::Number),
            _ => None,
        },
        syn::Expr::Paren(inner) => within(&inner.expr),
        syn::Expr::Group(inner) => within(&inner.expr),
        syn::Expr::Cast(cast) => within(&cast.expr),
        syn::Expr::Binary(binary) => join(&binary.op, within(&binary.left)?, within(&binary.right)?),
        syn::Expr::Path(path) => {
            let named = constants.get(&path.path.segments.last()?.ident.to_string())?;
            let [only] = named.as_slice() else { return None };
            value(only, constants, hops.checked_sub(1)?)
        }
        syn::Expr::Call(call) => {
            let syn::Expr::Path(function) = &*call.func else { return None };
            let argument = within(call.args.first().filter(|_| call.args.len() == 1)?)?;
            let Value::Number(number) = argument else { return None };
            made_by(&function.path.segments.last()?.ident.to_string(), number)
        }
        _ => None,
    }
}

fn made_by(constructor: &str, number: f64) -> Option<Value> {
    match constructor {
        "from_secs" | "from_secs_f64" | "from_secs_f32" => Some(Value::Seconds(number)),
        "from_millis" => Some(Value::Seconds(number / 1e3)),
        "from_micros" => Some(Value::Seconds(number / 1e6)),
        "from_nanos" => Some(Value::Seconds(number / 1e9)),
        "from_mins" => Some(Value::Seconds(number * 60.0)),
        "from_hours" => Some(Value::Seconds(number * 3600.0)),
        "from_bytes" => Some(Value::Number(number)),
        _ => None,
    }
}

fn join(operator: &syn::BinOp, left: Value, right: Value) -> Option<Value> {
    use Value::{Number, Seconds};
    match (operator, left, right) {
        (syn::BinOp::Mul(_), Number(a), Number(b)) => Some(Number(a * b)),
        (syn::BinOp::Mul(_), Seconds(a), Number(b)) | (syn::BinOp::Mul(_), Number(a), Seconds(b)) => {
            Some(Seconds(a * b))
        }
        (syn::BinOp::Div(_), Number(a), Number(b)) => Some(Number(a / b)),
        (syn::BinOp::Add(_), Number(a), Number(b)) => Some(Number(a + b)),
        (syn::BinOp::Add(_), Seconds(a), Seconds(b)) => Some(Seconds(a + b)),
        (syn::BinOp::Sub(_), Number(a), Number(b)) => Some(Number(a - b)),
        (syn::BinOp::Shl(_), Number(a), Number(b)) => Some(Number(a * 2f64.powf(b))),
        _ => None,
    }
}

fn constants(files: &[File]) -> Constants {
    struct Finder<'a>(&'a mut Constants);
    impl<'ast> Visit<'ast> for Finder<'_> {
        fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
            self.0.entry(item.ident.to_string()).or_default().push((*item.expr).clone());
        }
        fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
            self.0.entry(item.ident.to_string()).or_default().push(item.expr.clone());
        }
        fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
            self.0.entry(item.ident.to_string()).or_default().push((*item.expr).clone());
        }
    }
    let mut constants = Constants::new();
    let mut finder = Finder(&mut constants);
    files.iter().flat_map(File::items).for_each(|item| finder.visit_item(item));
    constants
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    const CODE: &str = "
        const REDIAL_MAX: Duration = Duration::from_secs(1);
        pub const WAIT_MS: u64 = 1_500;
        const FRAME_MAX: usize = 64 * 1024;
        const WINDOW_MIN: Size = Size::from_bytes(4 << 20);
        const LOSS_MAX: f64 = 0.08;
        const TWICE_MAX: Duration = REDIAL_MAX.mul(2);
        const HALF_MAX: usize = FRAME_MAX / 2;
        impl A { const IDLE_AFTER: Duration = Duration::from_millis(250); }";

    #[test]
    fn a_constant_with_another_value_is_found() {
        for (said, faults) in [
            ("`REDIAL_MAX` (1 s)", 0),
            ("`endpoint::REDIAL_MAX` (1 s, at most)", 0),
            ("`REDIAL_MAX`\n(1000 ms)", 0),
            ("`WAIT_MS` (1,500 ms)", 0),
            ("`WAIT_MS` (1.5 s)", 1),
            ("`FRAME_MAX` (64 KiB)", 0),
            ("`WINDOW_MIN` (4 MiB)", 0),
            ("`LOSS_MAX` (8 %)", 0),
            ("`HALF_MAX` (32 KiB)", 0),
            ("`IDLE_AFTER` (250 ms)", 0),
            ("`REDIAL_MAX` (the limit)", 0),
            ("`REDIAL_MAX` (2 s)", 1),
            ("`REDIAL_MAX` (1 ms)", 1),
            ("`FRAME_MAX` (64 kB)", 1),
            ("`TWICE_MAX` (2 s)", 1),
            ("`NO_SUCH` (2 s)", 1),
            ("`NO_SUCH`", 1),
            ("`BUSY`", 0),
        ] {
            let files = tree(&[("link/src/a.rs", CODE), ("docs/a.md", said)]);
            assert_eq!(named_constants(&files).len(), faults, "{said}");
        }
    }
}
