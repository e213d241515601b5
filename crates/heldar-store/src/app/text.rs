//! What the texts of apps are, as far as their words tell.
//!
//! Owns: refusing what would end or leave the transaction that a text runs in, and what is more than one statement.
//! What remains is for the database to judge. Never: reading SQL any further than to its words.
//!
//! A word is what either engine takes for one: comments, quotes of every kind and PostgreSQL's dollar quotes are
//! skipped as that engine skips them.

use crate::size::Engine;

/// Most places of a statement.
pub(super) const PLACES: usize = 128;

/// What a statement begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// INSERT, UPDATE, DELETE, REPLACE.
    Change,
    /// SELECT, VALUES.
    Query,
    /// WITH, which leads to either.
    With,
}

/// A statement that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) verb: Verb,
    /// The highest `$n`; all below occur.
    pub(super) places: usize,
}

/// What a text is made of.
#[derive(Clone, Copy)]
enum Token {
    /// A word outside of quotes, from and to.
    Word(usize, usize),
    /// `$n`.
    Place(usize),
    /// `;`
    End,
    /// Anything else that is something.
    Other,
    /// Nothing is left.
    Nothing,
    /// It cannot be read.
    Bad(&'static str),
}

const OPEN_QUOTE: Token = Token::Bad("a quote in it does not end");

struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    postgres: bool,
}

const fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

const fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit()
}

impl<'t> Lexer<'t> {
    const fn new(text: &'t str, engine: Engine) -> Self {
        Lexer { text: text.as_bytes(), at: 0, postgres: matches!(engine, Engine::Postgres) }
    }

    /// The byte that is so far ahead; 0 behind the end.
    const fn peek(&self, ahead: usize) -> u8 {
        if self.at + ahead < self.text.len() { self.text[self.at + ahead] } else { 0 }
    }

    const fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    const fn next(&mut self) -> Token {
        loop {
            if self.at_end() {
                return Token::Nothing;
            }
            match self.peek(0) {
                0 => return Token::Bad("a NUL character is in it"),
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                // U+FEFF, which SQLite skips and PostgreSQL takes for a letter.
                0xef if self.peek(1) == 0xbb && self.peek(2) == 0xbf => {
                    return Token::Bad("a byte order mark is in it");
                }
                b'-' if self.peek(1) == b'-' => {
                    while !self.at_end() && self.peek(0) != b'\n' {
                        // PostgreSQL ends it here, SQLite does not.
                        if self.peek(0) == b'\r' && self.peek(1) != b'\n' {
                            return Token::Bad("a comment in it holds a carriage return");
                        }
                        self.at += 1;
                    }
                }
                b'/' if self.peek(1) == b'*' => {
                    if !self.skip_comment() {
                        return Token::Bad("a comment in it does not end");
                    }
                }
                _ => break,
            }
        }
        let first = self.peek(0);
        match first {
            b';' => {
                self.at += 1;
                Token::End
            }
            b'\'' => self.quoted(b'\'', false),
            b'"' => self.quoted(b'"', false),
            b'`' if !self.postgres => self.quoted(b'`', false),
            b'[' if !self.postgres => self.quoted(b']', false),
            b'$' => self.dollar(),
            _ if begins_word(first) => self.word(),
            _ if first.is_ascii_digit() => {
                while continues_word(self.peek(0)) || self.peek(0) == b'.' {
                    self.at += 1;
                }
                Token::Other
            }
            _ => {
                self.at += 1;
                Token::Other
            }
        }
    }

    /// Skips a comment in stars; false when it does not end. PostgreSQL's nest, SQLite's do not.
    const fn skip_comment(&mut self) -> bool {
        let mut depth = 0;
        while !self.at_end() {
            if self.peek(0) == b'/' && self.peek(1) == b'*' && (self.postgres || depth == 0) {
                depth += 1;
                self.at += 2;
            } else if self.peek(0) == b'*' && self.peek(1) == b'/' {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return true;
                }
            } else {
                self.at += 1;
            }
        }
        false
    }

    /// Skips a quote that begins here and ends with `end`, which stands for itself when it is doubled.
    const fn quoted(&mut self, end: u8, backslashes: bool) -> Token {
        self.at += 1;
        while !self.at_end() {
            let byte = self.peek(0);
            if byte == 0 {
                break;
            }
            if byte == end {
                // A bracket is not doubled.
                if end == b']' || self.peek(1) != end {
                    self.at += 1;
                    return Token::Other;
                }
                self.at += 1;
            } else if backslashes && byte == b'\\' {
                self.at += 1;
            }
            self.at += 1;
        }
        OPEN_QUOTE
    }

    const fn word(&mut self) -> Token {
        let from = self.at;
        while continues_word(self.peek(0)) || self.peek(0) == b'$' {
            self.at += 1;
        }
        let is_escape = self.at == from + 1 && matches!(self.text[from], b'e' | b'E');
        if self.postgres && is_escape && self.peek(0) == b'\'' {
            return self.quoted(b'\'', true);
        }
        Token::Word(from, self.at)
    }

    /// `$n`, or on PostgreSQL a quote `$tag$ … $tag$`.
    const fn dollar(&mut self) -> Token {
        let from = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            let mut number = 0usize;
            while self.peek(0).is_ascii_digit() {
                if number <= PLACES {
                    number = number * 10 + (self.peek(0) - b'0') as usize;
                }
                self.at += 1;
            }
            if number == 0 || number > PLACES {
                return Token::Bad("its places are numbered from $1 to $128 at most");
            }
            if begins_word(self.peek(0)) || self.peek(0) == b'$' {
                return Token::Bad("a place in it is not followed by a space");
            }
            return Token::Place(number);
        }
        if !self.postgres {
            return Token::Bad("its places are named $1, $2 and so on");
        }
        while continues_word(self.peek(0)) {
            self.at += 1;
        }
        if self.peek(0) != b'$' {
            return Token::Bad("its places are named $1, $2 and so on");
        }
        self.at += 1;
        let tag = self.at - from;
        while self.at + tag <= self.text.len() {
            let mut same = 0;
            while same < tag && self.text[self.at + same] == self.text[from + same] {
                same += 1;
            }
            if same == tag {
                self.at += tag;
                return Token::Other;
            }
            if self.text[self.at] == 0 {
                break;
            }
            self.at += 1;
        }
        OPEN_QUOTE
    }

    /// Whether the word from and to is this one, which is given in upper case.
    const fn is(&self, (from, to): (usize, usize), word: &str) -> bool {
        let word = word.as_bytes();
        if to - from != word.len() {
            return false;
        }
        let mut at = 0;
        while at < word.len() {
            if self.text[from + at].to_ascii_uppercase() != word[at] {
                return false;
            }
            at += 1;
        }
        true
    }

    const fn is_any(&self, span: (usize, usize), words: &[&str]) -> bool {
        let mut at = 0;
        while at < words.len() {
            if self.is(span, words[at]) {
                return true;
            }
            at += 1;
        }
        false
    }
}

/// Reads one statement.
pub(super) const fn statement(text: &str, engine: Engine) -> Result<Shape, &'static str> {
    let mut lexer = Lexer::new(text, engine);
    let verb = match lexer.next() {
        Token::Word(from, to) if lexer.is_any((from, to), &["INSERT", "UPDATE", "DELETE", "REPLACE"]) => {
            Verb::Change
        }
        Token::Word(from, to) if lexer.is_any((from, to), &["SELECT", "VALUES"]) => Verb::Query,
        Token::Word(from, to) if lexer.is((from, to), "WITH") => Verb::With,
        Token::Bad(why) => return Err(why),
        _ => return Err("it begins with none of INSERT, UPDATE, DELETE, REPLACE, SELECT, VALUES and WITH"),
    };
    // One bit for each place that occurs.
    let mut seen = 0u128;
    loop {
        match lexer.next() {
            Token::Word(..) | Token::Other => {}
            Token::Place(number) => seen |= 1 << (number - 1),
            Token::End => {
                return match lexer.next() {
                    Token::Nothing => shape(verb, seen),
                    _ => Err("it is more than one statement"),
                };
            }
            Token::Nothing => return shape(verb, seen),
            Token::Bad(why) => return Err(why),
        }
    }
}

const fn shape(verb: Verb, seen: u128) -> Result<Shape, &'static str> {
    let places = seen.trailing_ones() as usize;
    if seen.count_ones() as usize == places {
        Ok(Shape { verb, places })
    } else {
        Err("its places leave a number out")
    }
}

/// What a statement of a schema step begins with.
const SCRIPT_VERBS: &[&str] =
    &["CREATE", "ALTER", "DROP", "COMMENT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"];

/// Reads the statements of a schema step.
///
/// # Errors
/// Why it is not taken.
pub(super) fn script(text: &str, engine: Engine) -> Result<(), String> {
    let mut lexer = Lexer::new(text, engine);
    // How many words the running statement has so far, and whether they make a trigger or may do so.
    let (mut words, mut is_trigger, mut is_temporary) = (0, false, false);
    // Inside the body of a trigger of SQLite, whose statements end with `;` as well.
    let mut in_body = false;
    let mut at_start = true;
    loop {
        let span = match lexer.next() {
            Token::Nothing => return Ok(()),
            Token::Bad(why) => return Err(why.to_owned()),
            Token::Place(_) => return Err("a schema step has no places for values".to_owned()),
            Token::End => {
                at_start = true;
                if !in_body {
                    (words, is_trigger, is_temporary) = (0, false, false);
                }
                continue;
            }
            Token::Other if at_start && !in_body => {
                return Err("a statement in it does not begin with a word".to_owned());
            }
            Token::Other => {
                at_start = false;
                continue;
            }
            Token::Word(from, to) => (from, to),
        };
        if in_body {
            if at_start && lexer.is(span, "END") {
                in_body = false;
            }
            at_start = false;
            continue;
        }
        if at_start && !lexer.is_any(span, SCRIPT_VERBS) {
            let word = text.get(span.0..span.1).unwrap_or_default();
            return Err(format!(
                "a statement in it begins with {word}, not with {}",
                SCRIPT_VERBS.join(", ")
            ));
        }
        if lexer.is(span, "DEFERRED") {
            return Err("a constraint in it is DEFERRED; they are checked at once".to_owned());
        }
        at_start = false;
        words += 1;
        // CREATE [TEMP | TEMPORARY] TRIGGER.
        is_temporary |= words == 2 && lexer.is_any(span, &["TEMP", "TEMPORARY"]);
        is_trigger |= (words == 2 || (words == 3 && is_temporary)) && lexer.is(span, "TRIGGER");
        if is_trigger && matches!(engine, Engine::Sqlite) && lexer.is(span, "BEGIN") {
            (in_body, at_start) = (true, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

    #[test]
    fn statements_are_told_apart() {
        let ok = |verb, places| Ok(Shape { verb, places });
        let more = Err("it is more than one statement");
        for (text, expect) in [
            ("insert into t values ($1, $2)", ok(Verb::Change, 2)),
            (" -- why\n/* and */ SELECT a FROM t WHERE b = $1 AND c > $1; -- end", ok(Verb::Query, 1)),
            ("WITH x AS (SELECT 1) UPDATE t SET a = '; $9 -- '''", ok(Verb::With, 0)),
            ("SELECT a\"$3;\"\"\" FROM t WHERE b IN ($2,$1)", ok(Verb::Query, 2)),
            ("SELECT 1;;", more),
            ("SELECT 1; COMMIT", more),
            ("SELECT $1, $3", Err("its places leave a number out")),
            ("SELECT $0", Err("its places are numbered from $1 to $128 at most")),
            ("SELECT $129", Err("its places are numbered from $1 to $128 at most")),
            ("SELECT $99999999999999999999999", Err("its places are numbered from $1 to $128 at most")),
            ("SELECT $1a", Err("a place in it is not followed by a space")),
            ("SELECT 'a", Err("a quote in it does not end")),
            ("SELECT /* a", Err("a comment in it does not end")),
            ("SELECT '\0'", Err("a quote in it does not end")),
            ("SELECT \0", Err("a NUL character is in it")),
            ("SELECT 1 --\r\n", ok(Verb::Query, 0)),
            ("SELECT 1 --\r;", Err("a comment in it holds a carriage return")),
        ] {
            for engine in BOTH {
                assert_eq!(statement(text, engine), expect, "{text} {engine:?}");
            }
        }
        let words = [
            "BEGIN",
            "COMMIT",
            "END",
            "ROLLBACK",
            "ABORT",
            "SAVEPOINT a",
            "RELEASE a",
            "PRAGMA user_version = 1",
            "ATTACH 'a' AS a",
            "DETACH a",
            "VACUUM",
            "SET search_path = a",
            "CREATE TABLE t (a)",
            "DROP TABLE t",
            "EXPLAIN SELECT 1",
            "CALL a()",
            "DO $$ $$",
            "COPY t FROM 'a'",
            "",
            ";",
            "(SELECT 1)",
        ];
        for (text, lead) in words.iter().flat_map(|text| ["", " ", "--\n", "/**/"].map(|lead| (text, lead))) {
            for engine in BOTH {
                let text = format!("{lead}{text}").to_lowercase();
                assert!(statement(&text, engine).unwrap_err().starts_with("it begins"), "{text}");
            }
        }
    }

    #[test]
    fn each_engine_quotes_in_its_way() {
        let more = Err("it is more than one statement");
        let one = |places| Ok(Shape { verb: Verb::Query, places });
        let places = Err("its places are named $1, $2 and so on");
        for (text, sqlite, postgres) in [
            ("SELECT [a;b]", one(0), more),
            ("SELECT `a;b`", one(0), more),
            ("SELECT $$a;b$$", places, one(0)),
            ("SELECT $x$a;$$ $y$ $x$, $1", places, one(1)),
            ("SELECT $x", places, places),
            ("SELECT $x$ $y$", places, Err("a quote in it does not end")),
            ("SELECT E'\\'; COMMIT; --'", more, one(0)),
            ("SELECT '\\'; COMMIT; --'", more, more),
            ("SELECT /* /* */ 1; */ 1", more, one(0)),
            ("SELECT a$1$ FROM t", one(0), one(0)),
        ] {
            assert_eq!(statement(text, Engine::Sqlite), sqlite, "{text}");
            assert_eq!(statement(text, Engine::Postgres), postgres, "{text}");
        }
    }

    #[test]
    fn scripts_hold_no_transaction() {
        let check = |text: &str, expect: Option<&str>| {
            for engine in BOTH {
                let why = script(text, engine).err();
                let told = match (&why, expect) {
                    (Some(why), Some(expect)) => why.contains(expect),
                    (why, expect) => why.is_none() && expect.is_none(),
                };
                assert!(told, "{text} {engine:?}: {why:?}");
            }
        };
        check("", None);
        check("-- nothing to do", None);
        check("CREATE TABLE t (a BIGINT); ;INSERT INTO t VALUES (1);\nDROP TABLE t", None);
        check("CREATE TABLE t (end_us BIGINT, \"commit\" TEXT DEFAULT '; COMMIT;')", None);
        for name in ["t (trigger BIGINT, begin BIGINT)", "trigger (begin BIGINT)"] {
            check(&format!("CREATE TABLE {name}; COMMIT; END"), Some("begins with COMMIT"));
        }
        for word in ["BEGIN", "Commit", "END", "ROLLBACK", "SAVEPOINT a", "PRAGMA x", "VACUUM", "SET a = 1"] {
            let name = word.split(' ').next().unwrap();
            check(word, Some(&format!("begins with {name}")));
            check(&format!("CREATE TABLE t (a TEXT);/**/{word};"), Some(&format!("begins with {name}")));
        }
        check("SELECT 1", Some("begins with SELECT"));
        check("(SELECT 1)", Some("does not begin with a word"));
        check("INSERT INTO t VALUES ($1)", Some("no places"));
        check("CREATE TABLE t (a BIGINT REFERENCES s DEFERRABLE INITIALLY DEFERRED)", Some("DEFERRED"));
        let trigger = "CREATE TRIGGER t AFTER INSERT ON a WHEN CASE WHEN 1 THEN 1 END BEGIN
            UPDATE a SET b = CASE WHEN b THEN 1 END; DELETE FROM c; END; ";
        assert_eq!(script(trigger, Engine::Sqlite), Ok(()));
        assert!(script(&format!("{trigger} COMMIT;"), Engine::Sqlite).unwrap_err().contains("COMMIT"));
        let marked = trigger.replace("END; ", "\u{feff}END; COMMIT; ");
        assert!(script(&marked, Engine::Sqlite).unwrap_err().contains("byte order mark"));
        assert_eq!(script(&trigger.replace("CREATE", "create temp"), Engine::Sqlite), Ok(()));
        let function =
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN NEW; END; $f$;";
        assert_eq!(script(function, Engine::Postgres), Ok(()));
    }

    /// Pieces out of which texts are made that are read differently by the careless.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "SELECT 1",
            "CREATE TABLE t (a)",
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN",
            "INSERT INTO t VALUES (1)",
            "COMMIT",
            "END",
            "BEGIN",
            "ROLLBACK",
            ";",
            " ",
            "\n",
            "--",
            "/*",
            "*/",
            "'",
            "\"",
            "[",
            "]",
            "`",
            "$a$",
            "E'",
            "\\",
            "\u{feff}",
            "ü",
            "$1",
            ",",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn sqlite_sees_one_statement_too(text in pieces()) {
            let text = format!("SELECT 1 {text}");
            if statement(&text, Engine::Sqlite).is_ok() {
                let conn = rusqlite::Connection::open_in_memory().unwrap();
                let prepared = conn.prepare(&text).map(drop);
                prop_assert!(!matches!(prepared, Err(rusqlite::Error::MultipleStatement)), "{text}");
            }
        }

        #[test]
        fn no_script_leaves_its_transaction(text in pieces()) {
            if script(&text, Engine::Sqlite).is_ok() {
                let conn = rusqlite::Connection::open_in_memory().unwrap();
                conn.execute_batch("BEGIN").unwrap();
                let _outcome = conn.execute_batch(&text);
                prop_assert!(!conn.is_autocommit(), "{text}");
            }
        }
    }
}
