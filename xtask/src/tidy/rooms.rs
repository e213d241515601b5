//! SQL, HTTP types and sockets live in rooms of their own.
//!
//! Owns: SQL only in heldar-store; no file that mentions two of sqlx, axum and raw sockets. A file that needs two of
//! them holds a decision that belongs in a third.

use super::{Module, modules};
use crate::repo::{Finding, Repo, crate_of};
use crate::source::{Part, has_word};

const STORE: &str = "heldar-store";

/// Apps bring SQL of their own; this is one for a test.
const APPS: &[&str] = &["crates/heldar-kernel/tests/perception/groups.rs"];

/// The rooms, each with the words that show that a file is in it.
const ROOMS: &[(&str, &[&str])] =
    &[("SQL", &["sqlx"]), ("HTTP", &["axum"]), ("sockets", &["TcpStream", "UdpSocket"])];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for module in modules(repo) {
        if module.krate != STORE {
            sql_outside_the_store(&module, &mut findings);
        }
        two_rooms(&module, &mut findings);
    }
    for (path, _) in repo.texts().filter(|(path, _)| path.ends_with(".sql")) {
        if crate_of(path).is_some_and(|krate| krate != STORE) {
            findings.push(Finding::new(path, 0, format!("SQL lives in {STORE}")));
        }
    }
    findings
}

fn sql_outside_the_store(module: &Module<'_>, findings: &mut Vec<Finding>) {
    for (line, _) in module.source.lines(Part::All).filter(|(_, code)| has_word(code, "sqlx")) {
        findings.push(Finding::new(module.path, line, format!("sqlx lives in {STORE}")));
    }
    if APPS.contains(&module.path) {
        return;
    }
    for string in &module.source.strings {
        if string.text.lines().any(is_sql) {
            findings.push(Finding::new(module.path, string.line, format!("SQL lives in {STORE}")));
        }
    }
}

fn two_rooms(module: &Module<'_>, findings: &mut Vec<Finding>) {
    if module.test {
        return;
    }
    let first_line = |words: &[&str]| {
        let mut lines = module.source.lines(Part::Product);
        lines.find(|(_, code)| words.iter().any(|word| has_word(code, word))).map(|(line, _)| line)
    };
    let entered: Vec<(usize, &str)> =
        ROOMS.iter().filter_map(|(room, words)| Some((first_line(words)?, *room))).collect();
    if let (true, Some((line, _))) = (entered.len() > 1, entered.iter().max()) {
        let rooms: Vec<&str> = entered.iter().map(|(_, room)| *room).collect();
        findings.push(Finding::new(module.path, *line, format!("{} meet in one file", rooms.join(" and "))));
    }
}

/// Whether a line of a string begins a statement; keywords of SQL are upper case in this project.
fn is_sql(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take(3).collect();
    match words.as_slice() {
        ["SELECT" | "PRAGMA", _, ..] => true,
        ["INSERT", "INTO" | "OR", ..] | ["DELETE", "FROM", ..] | ["UPDATE", _, "SET"] => true,
        ["CREATE" | "ALTER" | "DROP", what, ..] => {
            matches!(*what, "TABLE" | "INDEX" | "UNIQUE" | "VIEW" | "TRIGGER" | "TEMP")
        }
        ["BEGIN", "IMMEDIATE" | "EXCLUSIVE", ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{caught, passes};
    use super::*;

    const KERNEL: &str = "crates/heldar-kernel/src/x.rs";

    #[test]
    fn sql_lives_in_the_store() {
        for text in [
            "\nf(\"SELECT a FROM b\");",
            "\nf(r#\"\n  UPDATE a SET b = 1\"#);",
            "\nconst A: &str = \"INSERT INTO a VALUES (1)\";",
            "\nuse sqlx::Pool;",
            "\n#[cfg(test)] mod t { const A: &str = \"DELETE FROM a\"; }",
        ] {
            caught(check, &[(KERNEL, text)], &format!("{KERNEL}:2"), "heldar-store");
        }
        caught(check, &[("crates/heldar-kernel/a.sql", "")], "crates/heldar-kernel/a.sql", "heldar-store");
    }

    #[test]
    fn english_and_the_store_itself_are_free() {
        passes(
            check,
            &[(KERNEL, "// SELECT a FROM b\nf(\"Select a camera from the list\"); f(\"DELETE\");")],
        );
        passes(check, &[("crates/heldar-store/src/x.rs", "use sqlx; f(\"SELECT a FROM b\");")]);
        passes(check, &[("crates/heldar-store/src/1.sql", "SELECT 1")]);
    }

    #[test]
    fn a_file_is_in_one_room() {
        let http = "crates/heldar-http/src/x.rs";
        caught(
            check,
            &[(http, "use axum;\nuse tokio::net::TcpStream;")],
            &format!("{http}:2"),
            "HTTP and sockets",
        );
        let store = "crates/heldar-store/src/x.rs";
        caught(
            check,
            &[(store, "use sqlx;\nfn f(a: UdpSocket) {}")],
            &format!("{store}:2"),
            "SQL and sockets",
        );
        passes(check, &[(http, "use axum;\n// TcpStream\n#[cfg(test)]\nmod tests { use a::TcpStream; }")]);
        passes(check, &[("crates/heldar-http/tests/x.rs", "use axum; use a::TcpStream;")]);
    }
}
