//! Java's format of properties, as far as MirrorMaker 2 reads it: one `name = value` in a line, `#` and `!` for comments,
//! a backslash at the end of a line that continues, and escapes.

use std::collections::BTreeMap;

/// Properties by their names. Of two with one name the later counts, as in Java.
pub(super) type Settings = BTreeMap<String, String>;

/// Reads the text of a properties file.
/// Error: the number of the line that is none, and why.
pub(super) fn parse(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while continues(&line) {
            line.pop();
            let Some((next, _)) = lines.next() else { break };
            line.push_str(next.trim_start());
        }
        let (name, value) = split(&line);
        let read =
            |text: &str| unescaped(text).ok_or_else(|| format!("line {number}: not an escape of Java's properties"));
        settings.insert(read(name)?, read(value.trim_end())?);
    }
    Ok(settings)
}

/// Returns whether a line ends in an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or space that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|letter: char| {
        let ends = !is_escaped && (matches!(letter, '=' | ':') || letter.is_whitespace());
        is_escaped = letter == '\\' && !is_escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start();
    (&line[..end], rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?;
                plain.push(char::from_u32(code)?);
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text = "# a comment\n! another\n\n a = 1 \nb:2\nc 3\nd\n e=x=y\nf = one,\\\n   two\ng = a\\\\\n\
                    h\\:i = \\u0041\\tB\nsource->target.topics = .*\\\\.x\na = 9\n";
        let settings = parse(text).unwrap();
        let expected = [
            ("a", "9"),
            ("b", "2"),
            ("c", "3"),
            ("d", ""),
            ("e", "x=y"),
            ("f", "one,two"),
            ("g", "a\\"),
            ("h:i", "A\tB"),
            ("source->target.topics", ".*\\.x"),
        ];
        assert_eq!(settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(parse("a = 1\nb = \\uZZZZ"), Err("line 2: not an escape of Java's properties".to_owned()));
    }
}
