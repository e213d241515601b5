//! Which crate may depend on which: pure <- IO <- kernel <- server.
//!
//! Owns: the layer of every crate, the few edges inside the IO layer, and who may hold the crates that bring SQL and
//! HTTP types. A new crate gets its line in [`LAYERS`] before its first dependency.

use crate::manifest::{Dependency, Purpose, dependencies};
use crate::repo::{Finding, Repo, crate_of};

/// Earlier layers never depend on later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// Decisions: no clock, file, socket, thread or runtime.
    Pure,
    /// One kind of input and output each.
    Io,
    /// The library that apps link.
    Kernel,
    /// Binaries and SDKs.
    Shell,
    /// Only ever a dev-dependency.
    Dev,
}

const LAYERS: &[(&str, Layer)] = &[
    ("heldar-base", Layer::Pure),
    ("heldar-access", Layer::Pure),
    ("heldar-media", Layer::Pure),
    ("heldar-bmff", Layer::Pure),
    ("heldar-timeline", Layer::Pure),
    ("heldar-recorder", Layer::Pure),
    ("heldar-motion", Layer::Pure),
    ("heldar-zones", Layer::Pure),
    ("heldar-perception", Layer::Pure),
    ("heldar-disk", Layer::Io),
    ("heldar-store", Layer::Io),
    ("heldar-ingest", Layer::Io),
    ("heldar-rtsp", Layer::Io),
    ("heldar-testcam", Layer::Io),
    ("heldar-config", Layer::Io),
    ("heldar-http", Layer::Io),
    ("heldar-tls", Layer::Io),
    ("heldar-live", Layer::Io),
    ("heldar-audio", Layer::Io),
    ("heldar-decode", Layer::Io),
    ("heldar-decoder", Layer::Shell),
    ("heldar-kernel", Layer::Kernel),
    ("heldar-server", Layer::Shell),
    ("heldar-worker", Layer::Shell),
    ("heldar-testkit", Layer::Dev),
];

/// The only edges between IO crates, from user to used.
const IO_EDGES: &[(&str, &str)] = &[
    ("heldar-ingest", "heldar-audio"),
    ("heldar-live", "heldar-audio"),
    ("heldar-live", "heldar-rtsp"),
    ("heldar-testcam", "heldar-rtsp"),
];

/// What pure crates may take from outside: data structures, formats and arithmetic.
const PURE_EXTERNAL: &[&str] =
    &["base64", "bytes", "crc32fast", "hmac", "jiff", "serde", "serde_json", "sha2", "thiserror", "zeroize"];

/// Crates from outside that only these may hold, for tests too.
const HOLDERS: &[(&str, &[&str])] =
    &[("sqlx", &["heldar-store"]), ("axum", &["heldar-http", "heldar-kernel", "heldar-server"])];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repo.texts() {
        let Some(name) = crate_of(path).filter(|name| path == format!("crates/{name}/Cargo.toml")) else {
            continue;
        };
        let Some(layer) = layer_of(name) else {
            findings.push(Finding::new(path, 0, format!("{name} has no layer; give it one in xtask")));
            continue;
        };
        for dependency in dependencies(text) {
            if let Some(why) = refused(name, layer, &dependency) {
                findings.push(Finding::new(path, dependency.line, why));
            }
        }
    }
    findings
}

/// The layer of a crate of the workspace.
pub(super) fn layer_of(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(krate, _)| *krate == name).map(|(_, layer)| *layer)
}

fn refused(user: &str, layer: Layer, dependency: &Dependency) -> Option<String> {
    let used = dependency.name.as_str();
    if let Some((_, holders)) = HOLDERS.iter().find(|(krate, _)| *krate == used) {
        let allowed = holders.contains(&user);
        return (!allowed).then(|| format!("only {} may depend on {used}", holders.join(", ")));
    }
    let Some(used_layer) = layer_of(used) else {
        let refused =
            layer == Layer::Pure && dependency.purpose == Purpose::Product && !PURE_EXTERNAL.contains(&used);
        return refused
            .then(|| format!("{user} is pure and {used} is not on the list of crates without IO in xtask"));
    };
    match dependency.purpose {
        Purpose::Tests if used_layer == Layer::Dev || used_layer <= layer => None,
        Purpose::Tests => Some(format!("tests of {user} ({layer:?}) may not need {used} ({used_layer:?})")),
        Purpose::Product if used_layer == Layer::Dev => Some(format!("{used} is for dev-dependencies only")),
        Purpose::Product if layer == Layer::Io && used_layer == Layer::Io => (!IO_EDGES
            .contains(&(user, used)))
        .then(|| format!("{user} -> {used} is not one of the edges between IO crates in xtask")),
        Purpose::Product if layer == Layer::Dev && used_layer <= Layer::Io => None,
        Purpose::Product if used_layer < layer && layer != Layer::Dev => None,
        Purpose::Product if used_layer == layer && layer == Layer::Pure => None,
        Purpose::Product => Some(format!("{user} ({layer:?}) may not depend on {used} ({used_layer:?})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `user` may have `used` under `table`.
    #[track_caller]
    fn edge(user: &str, table: &str, used: &str, hint: Option<&str>) {
        let path = format!("crates/{user}/Cargo.toml");
        let text = format!("[{table}]\n{used}.workspace = true\n");
        match hint {
            Some(hint) => super::super::caught(check, &[(&path, &text)], &format!("{path}:2"), hint),
            None => super::super::passes(check, &[(&path, &text)]),
        }
    }

    #[test]
    fn arrows_point_up_only() {
        edge("heldar-media", "dependencies", "heldar-base", None);
        edge("heldar-media", "dependencies", "heldar-disk", Some("may not depend on"));
        edge("heldar-disk", "dependencies", "heldar-bmff", None);
        edge("heldar-disk", "dependencies", "heldar-kernel", Some("may not depend on"));
        edge("heldar-kernel", "dependencies", "heldar-store", None);
        edge("heldar-kernel", "dependencies", "heldar-server", Some("may not depend on"));
        edge("heldar-server", "dependencies", "heldar-kernel", None);
        edge("heldar-server", "build-dependencies", "heldar-worker", Some("may not depend on"));
    }

    #[test]
    fn edges_between_io_crates_are_listed() {
        edge("heldar-testcam", "dependencies", "heldar-rtsp", None);
        edge("heldar-http", "dependencies", "heldar-store", Some("edges between IO crates"));
    }

    #[test]
    fn pure_crates_take_no_io_from_outside() {
        edge("heldar-bmff", "dependencies", "bytes", None);
        edge("heldar-bmff", "dependencies", "tokio", Some("is pure"));
        edge("heldar-bmff", "target.'cfg(unix)'.dependencies", "rustix", Some("is pure"));
        edge("heldar-bmff", "dev-dependencies", "tempfile", None);
    }

    #[test]
    fn sql_and_http_have_their_holders() {
        edge("heldar-store", "dependencies", "sqlx", None);
        edge("heldar-kernel", "dev-dependencies", "sqlx", Some("only heldar-store"));
        edge("heldar-http", "dependencies", "axum", None);
        edge("heldar-live", "dependencies", "axum", Some("only heldar-http"));
    }

    #[test]
    fn tests_may_need_what_their_layer_may_and_the_testkit() {
        edge("heldar-store", "dev-dependencies", "heldar-testkit", None);
        edge("heldar-store", "dependencies", "heldar-testkit", Some("dev-dependencies only"));
        edge("heldar-recorder", "dev-dependencies", "heldar-disk", Some("tests of heldar-recorder"));
        edge("heldar-testkit", "dependencies", "heldar-disk", None);
        edge("heldar-testkit", "dependencies", "heldar-kernel", Some("may not depend on"));
    }

    #[test]
    fn every_crate_has_a_layer() {
        let path = "crates/heldar-new/Cargo.toml";
        super::super::caught(check, &[(path, "[dependencies]\n")], path, "has no layer");
    }
}
