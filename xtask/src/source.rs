//! A Rust file taken apart as far as the rules need it: code, strings, comments, and what is test code.
//!
//! Owns: the lexical structure of Rust (The Rust Reference, "Tokens" and "Comments"). Never: a syntax tree.

/// A string or a comment, and the line (from 1) on which it begins.
pub(crate) struct Piece {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// One file, taken apart.
pub(crate) struct Source {
    /// The file with strings, characters and comments blanked; line numbers are those of the file.
    code: String,
    /// Contents of string literals of every kind.
    pub(crate) strings: Vec<Piece>,
    /// Comments of every kind, a block comment as one piece.
    pub(crate) comments: Vec<Piece>,
    /// By line from 0: inside an item that only tests compile.
    test: Vec<bool>,
}

/// Which code a rule judges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What ends up in the product.
    Product,
    /// That, and tests.
    All,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let mut lexer = Lexer::new(text);
        lexer.run();
        let test = test_lines(&lexer.code);
        Self { code: lexer.code, strings: lexer.strings, comments: lexer.comments, test }
    }

    /// Lines of code as (number from 1, text), strings and comments blanked.
    pub(crate) fn lines(&self, part: Part) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.code.lines().enumerate().map(|(index, line)| (index + 1, line));
        numbered.filter(move |(number, _)| part == Part::All || !self.is_test(*number))
    }

    /// Whether the line (from 1) is compiled for tests only.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        line.checked_sub(1).and_then(|index| self.test.get(index)).copied().unwrap_or(false)
    }

    /// Names of modules in files of their own that only tests compile: `#[cfg(test)] mod name;`.
    pub(crate) fn test_modules(&self) -> Vec<&str> {
        let in_tests =
            self.code.lines().zip(&self.test).filter(|(_, test)| **test).map(|(line, _)| line.trim());
        in_tests
            .filter_map(|line| line.rsplit_once("mod ")?.1.strip_suffix(';'))
            .filter(|name| name.chars().all(is_word))
            .collect()
    }
}

/// Whether `word` occurs in `line` on its own: no letter, digit or underscore touches its ends.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let begins = !word.starts_with(is_word) || !before.is_some_and(is_word);
        let ends = !word.ends_with(is_word) || !after.is_some_and(is_word);
        begins && ends
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    /// The last character of code, to tell the prefix of a raw string from the end of a name.
    last: char,
    code: String,
    strings: Vec<Piece>,
    comments: Vec<Piece>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            line: 1,
            last: ' ',
            code: String::new(),
            strings: Vec::new(),
            comments: Vec::new(),
        }
    }

    fn run(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                let piece = self.blank(end);
                self.comments.push(piece);
            } else if self.rest.starts_with("/*") {
                let end = block_comment_end(self.rest);
                let piece = self.blank(end);
                self.comments.push(piece);
            } else if let Some((open, hashes)) = self.raw_string() {
                let close = format!("\"{}", "#".repeat(hashes));
                let end =
                    self.rest[open..].find(&close).map_or(self.rest.len(), |at| open + at + close.len());
                self.string(open, end, close.len());
            } else if next == '"' {
                let end = quoted_end(self.rest, '"');
                self.string(1, end, 1);
            } else if next == '\'' && is_char_literal(self.rest) {
                let end = quoted_end(self.rest, '\'');
                self.blank(end);
            } else {
                self.keep(next);
            }
        }
    }

    /// Length of the opening of a raw string and its number of hashes, if one begins here.
    fn raw_string(&self) -> Option<(usize, usize)> {
        if is_word(self.last) {
            return None;
        }
        let prefix = ["r", "br", "cr"].into_iter().find(|p| {
            self.rest.strip_prefix(p).is_some_and(|after| after.starts_with('#') || after.starts_with('"'))
        })?;
        let after = &self.rest[prefix.len()..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        after[hashes..].starts_with('"').then_some((prefix.len() + hashes + 1, hashes))
    }

    fn string(&mut self, open: usize, end: usize, close: usize) {
        let mut piece = self.blank(end);
        let text = piece.text.get(open..end.saturating_sub(close)).unwrap_or_default().to_owned();
        piece.text = text;
        self.strings.push(piece);
        self.last = '"';
    }

    fn keep(&mut self, c: char) {
        self.code.push(c);
        self.line += usize::from(c == '\n');
        self.last = c;
        self.rest = &self.rest[c.len_utf8()..];
    }

    /// Takes the next `len` bytes out of the code, keeping its lines.
    fn blank(&mut self, len: usize) -> Piece {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        let piece = Piece { line: self.line, text: taken.to_owned() };
        self.code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.line += taken.matches('\n').count();
        self.last = ' ';
        self.rest = rest;
        piece
    }
}

/// Length of the block comment that `text` begins with; block comments nest.
fn block_comment_end(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of the literal that `text` begins with, both quotes included.
fn quoted_end(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A quote begins a character, not a lifetime, when an escape or one character and another quote follow.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// By line: inside an item under `#[cfg(test)]` or `#[cfg(all(test, ...))]`, or in a file that begins so.
fn test_lines(code: &str) -> Vec<bool> {
    let mut test = vec![false; code.lines().count()];
    if ["#![cfg(test)]", "#![cfg(all(test"].iter().any(|attribute| code.contains(attribute)) {
        test.fill(true);
        return test;
    }
    let starts = ["#[cfg(test)]", "#[cfg(all(test"].into_iter().flat_map(|a| code.match_indices(a));
    for (start, _) in starts {
        let end = start + item_length(&code[start..]);
        let first = code[..start].matches('\n').count();
        let last = code[..end].matches('\n').count();
        for line in test.iter_mut().take(last + 1).skip(first) {
            *line = true;
        }
    }
    test
}

/// Length of the item that `code` begins with, attributes included: to its closing brace, or to its semicolon.
fn item_length(code: &str) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && others == 0 {
                    return at + 1;
                }
            }
            ';' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `want` is the code that is left, with each run of blanks as one.
    #[track_caller]
    fn check(text: &str, want: &str, strings: &[&str], comments: &[&str]) {
        let source = Source::parse(text);
        let code: Vec<&str> =
            source.lines(Part::All).flat_map(|(_, line)| line.split_ascii_whitespace()).collect();
        assert_eq!(code.join(" "), want);
        assert_eq!(source.strings.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), strings);
        assert_eq!(source.comments.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), comments);
    }

    #[test]
    fn code_strings_and_comments_come_apart() {
        check("let a = 1; // one", "let a = 1;", &[], &["// one"]);
        check("a /* b /* c */ d */ e", "a e", &[], &["/* b /* c */ d */"]);
        check("f(\"x // \\\" y\") + g", "f( ) + g", &["x // \\\" y"], &[]);
        check("r#\"say \"hi\"\"# + br\"\\\" + c", "+ + c", &["say \"hi\"", "\\"], &[]);
        check("r#type 'a 'b' '\\'' '\"' b'\"' c", "r#type 'a b c", &[], &[]);
        check("attr\"no raw\\\"\"", "attr", &["no raw\\\""], &[]);
        check("a \"open", "a", &["ope"], &[]);
        check("a /* open", "a", &[], &["/* open"]);
    }

    #[test]
    fn lines_are_kept_and_numbered() {
        let source = Source::parse("a\n\"x\ny\"\n/* 1\n2 */ b\n\"z\"");
        assert_eq!(source.lines(Part::All).last(), Some((6, "   ")));
        assert_eq!(source.strings.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 6]);
        assert_eq!(source.comments[0].line, 4);
    }

    #[test]
    fn test_items_are_told_from_product() {
        let text = "a\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n  { b }\n}\nc\n#[cfg(test)]\nmod apart;\nd\n\
                    #[cfg(all(test, unix))]\nuse e;\nf\n#[cfg(any(test, unix))]\ng\n";
        let source = Source::parse(text);
        let product: Vec<&str> = source.lines(Part::Product).map(|(_, line)| line).collect();
        assert_eq!(product, ["a", "c", "d", "f", "#[cfg(any(test, unix))]", "g"]);
        assert_eq!(source.test_modules(), ["apart"]);
        assert!(Source::parse("#![cfg(test)]\nx").is_test(2));
    }

    #[test]
    fn words_stand_alone() {
        for (line, word, want) in [
            ("use std::fs;", "std::fs", true),
            ("use std::fsync;", "std::fs", false),
            ("nstd::fs", "std::fs", false),
            ("tokio::spawn", "tokio::", true),
            ("x.mytokio::spawn", "tokio::", false),
        ] {
            assert_eq!(has_word(line, word), want, "{line}");
        }
    }
}
