//! `.env` in the working directory.

use std::path::Path;

use super::{FileError, Files, Given, Layer, Source, is_ours};
use crate::load::StartError;

/// Reads `.env`; a missing one says nothing. Lines of other programs are passed over, whatever they look like.
pub(super) fn dotenv_layer(files: &dyn Files, errors: &mut Vec<StartError>) -> Layer {
    let file = match files.read(Path::new(".env")) {
        Ok(file) => file,
        Err(FileError::NotFound) => return Layer::new(),
        Err(error) => {
            errors.push(StartError::about(".env", Source::DotEnv, format!("is there, but {error}")));
            return Layer::new();
        }
    };
    let Ok(text) = std::str::from_utf8(file.bytes.expose()) else {
        errors.push(StartError::about(".env", Source::DotEnv, "is not UTF-8"));
        return Layer::new();
    };
    let mut layer = Layer::new();
    for (n, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match assignment(line) {
            Line::Other => {}
            Line::Wrong(problem) => {
                errors.push(StartError::about(format!(".env line {}", n + 1), Source::DotEnv, problem));
            }
            // As in a shell, the last one counts.
            Line::Assigns(name, value) => {
                let given = Given::text(value, Source::DotEnv);
                let given = Given { readable_by_others: file.readable_by_others, ..given };
                layer.insert(name.to_owned(), given);
            }
        }
    }
    layer
}

enum Line<'a> {
    /// Blank, a comment, or not ours.
    Other,
    Wrong(&'static str),
    Assigns(&'a str, String),
}

/// `NAME=value`, with an optional `export`. Nothing is expanded.
fn assignment(line: &str) -> Line<'_> {
    let line = line.trim();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, rest) = match line.split_once('=') {
        Some((name, rest)) => (name.trim_end(), rest.trim_start()),
        None if is_ours(line) => return Line::Wrong("has no = behind the name"),
        None => return Line::Other,
    };
    if !is_ours(name) {
        return Line::Other;
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Line::Wrong("does not begin with a name and =");
    }
    match value(rest) {
        Ok(value) => Line::Assigns(name, value),
        Err(problem) => Line::Wrong(problem),
    }
}

/// Plain up to ` #`, `'as it stands'`, or `"with \" \\ \n"`.
fn value(text: &str) -> Result<String, &'static str> {
    let (value, behind) = match text.chars().next() {
        Some('\'') => {
            let (value, behind) = text[1..].split_once('\'').ok_or("does not close its quote")?;
            (value.to_owned(), behind)
        }
        Some('"') => double_quoted(&text[1..])?,
        _ => {
            // A # within a word belongs to the value.
            let end = text
                .char_indices()
                .find(|(at, c)| *c == '#' && text[..*at].chars().next_back().is_none_or(char::is_whitespace));
            (text[..end.map_or(text.len(), |(at, _)| at)].trim_end().to_owned(), "")
        }
    };
    let behind = behind.trim_start();
    if behind.is_empty() || behind.starts_with('#') { Ok(value) } else { Err("goes on behind its quote") }
}

fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => return Err("does not close its quote"),
            },
            c => value.push(c),
        }
    }
    Err("does not close its quote")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(line: &str, expect: Result<Option<(&str, &str)>, &str>) {
        let got = match assignment(line) {
            Line::Other => Ok(None),
            Line::Wrong(problem) => Err(problem),
            Line::Assigns(name, value) => Ok(Some((name, value))),
        };
        let got = got.map(|o| o.map(|(name, value)| (name.to_owned(), value)));
        let expect = expect.map(|o| o.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(got, expect, "{line}");
    }

    #[test]
    fn lines() {
        let log = |value| Ok(Some(("HELDAR_LOG", value)));
        check("", Ok(None));
        check("# HELDAR_LOG=info", Ok(None));
        check("HELDAR_LOG=info", log("info"));
        check("  export HELDAR_LOG = info  ", log("info"));
        check("HELDAR_LOG=info # why", log("info"));
        check("HELDAR_LOG=a#b", log("a#b"));
        check("HELDAR_LOG=# why", log(""));
        check("HELDAR_LOG=", log(""));
        check("HELDAR_LOG='a # \"b\\n' # why", log("a # \"b\\n"));
        check("HELDAR_LOG=\"a \\\"b\\\" \\\\ \\n \\t #\"", log("a \"b\" \\ \n \\t #"));
        check("HELDAR_LOG=$HOME", log("$HOME"));
        check("HELDAR_LOG='a", Err("does not close its quote"));
        check("HELDAR_LOG=\"a\\", Err("does not close its quote"));
        check("HELDAR_LOG='a' b", Err("goes on behind its quote"));
        check("HELDAR_LOG", Err("has no = behind the name"));
        check("HELDAR_LOG info=1", Err("does not begin with a name and ="));
        check("TZ=UTC", Ok(Some(("TZ", "UTC"))));
        check("OTHER='", Ok(None));
        check("-----BEGIN KEY-----", Ok(None));
        check("äöü=1", Ok(None));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "(HELDAR_LOG=)?\\PC{0,40}") {
            let _outcome = assignment(&line);
        }

        #[test]
        fn what_is_quoted_comes_back(text in "[^\r\n]{0,30}") {
            let quoted = format!("HELDAR_LOG=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let Line::Assigns(_, value) = assignment(&quoted) else { panic!("{quoted}") };
            prop_assert_eq!(value, text);
        }
    }
}
