//! Nothing connects outward but what asks the egress guard.
//!
//! Owns: which files may open connections or resolve names, and why. The guard is of no use beside a client that does not
//! ask it.

use super::modules;
use crate::repo::{Finding, Repo};
use crate::source::{Part, has_word};

/// What opens a connection or resolves a name.
const OUTWARD: &[&str] =
    &["TcpStream::connect", "TcpStream::connect_timeout", "lookup_host", "to_socket_addrs"];

/// Files that may, and what they reach.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/heldar-ingest/", "cameras, each address checked by the guard"),
    ("crates/heldar-kernel/src/egress/client.rs", "receivers of webhooks, each address checked by the guard"),
    ("crates/heldar-testkit/", "helpers of tests"),
    ("crates/heldar-testcam/", "test cameras"),
    ("crates/heldar-server/src/bench/", "servers of its own making"),
    ("crates/heldar-server/src/doctor/", "the own port, and whether the database answers"),
    ("crates/heldar-server/src/serve.rs", "the name of the own listener"),
];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for module in modules(repo).iter().filter(|module| !module.test) {
        if ALLOWED.iter().any(|(path, _)| module.path.starts_with(path)) {
            continue;
        }
        for (line, code) in module.source.lines(Part::Product) {
            if let Some(word) = OUTWARD.iter().find(|word| has_word(code, word)) {
                let why = format!(
                    "`{word}`: connections go through the egress guard, or the file is listed with its reason"
                );
                findings.push(Finding::new(module.path, line, why));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_asks_nobody_is_found() {
        let text = "async fn f() {\n    tokio::net::TcpStream::connect((\"h\", 80)).await;\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn g() { std::net::TcpStream::connect(1); }\n}\n";
        let found = |path: &str| {
            check(&Repo::of(&[(path, text)])).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let outside = found("crates/heldar-kernel/src/x.rs");
        assert!(
            outside.len() == 1 && outside[0].starts_with("crates/heldar-kernel/src/x.rs:2:"),
            "{outside:?}"
        );
        assert!(found("crates/heldar-ingest/src/x.rs").is_empty());
        assert!(found("crates/heldar-kernel/src/egress/client.rs").is_empty());
        assert!(found("crates/heldar-kernel/tests/x.rs").is_empty());
    }
}
