//! The page at `/`: files that are part of the binary, or those of a folder that `HELDAR_WEB_DIR` names. The embeddable player
//! is served with either.

use std::path::{Path, PathBuf};

use axum::http::HeaderValue;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use heldar_http::{ETag, Freshness, Pages, StaticFile};
use sha2::{Digest as _, Sha256};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, type and bytes of each file.
const FILES: &[(&str, &str, &[u8])] = &[
    ("index.html", HTML, include_bytes!("../web/index.html")),
    ("style.css", STYLE, include_bytes!("../web/style.css")),
    ("timeline.css", STYLE, include_bytes!("../web/timeline.css")),
    ("icon.svg", SVG, include_bytes!("../web/icon.svg")),
    ("app.js", SCRIPT, include_bytes!("../web/app.js")),
    ("api.js", SCRIPT, include_bytes!("../web/api.js")),
    ("entry.css", STYLE, include_bytes!("../web/entry.css")),
    ("about.js", SCRIPT, include_bytes!("../web/about.js")),
    ("account.js", SCRIPT, include_bytes!("../web/account.js")),
    ("entry.js", SCRIPT, include_bytes!("../web/entry.js")),
    ("forms.js", SCRIPT, include_bytes!("../web/forms.js")),
    ("clips.js", SCRIPT, include_bytes!("../web/clips.js")),
    ("dialogs.js", SCRIPT, include_bytes!("../web/dialogs.js")),
    ("dom.js", SCRIPT, include_bytes!("../web/dom.js")),
    ("footage.js", SCRIPT, include_bytes!("../web/footage.js")),
    ("boxes.js", SCRIPT, include_bytes!("../web/boxes.js")),
    ("player.js", SCRIPT, include_bytes!("../web/player.js")),
    ("stage.js", SCRIPT, include_bytes!("../web/stage.js")),
    ("time.js", SCRIPT, include_bytes!("../web/time.js")),
    ("timeline.js", SCRIPT, include_bytes!("../web/timeline.js")),
    ("viewer.js", SCRIPT, include_bytes!("../web/viewer.js")),
    ("windows.js", SCRIPT, include_bytes!("../web/windows.js")),
    ("words.js", SCRIPT, include_bytes!("../web/words.js")),
];

/// The embeddable player, built from `web/player`; see `build.rs` for what it is where that was not built.
const PLAYER: (&str, &str, &[u8]) =
    ("heldar-player.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/heldar-player.js")));

fn built_in(path: &str) -> Option<StaticFile> {
    let mut files = FILES.iter().chain(std::iter::once(&PLAYER));
    let (_, content_type, bytes) = files.find(|(name, ..)| *name == path)?;
    Some(StaticFile {
        bytes: Bytes::from_static(bytes),
        content_type: HeaderValue::from_static(content_type),
        etag: ETag::strong(&tag(bytes))?,
        freshness: Freshness::AskEachTime,
    })
}

/// Files that are part of the binary.
pub(crate) struct BuiltIn;

impl Pages for BuiltIn {
    fn file<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<StaticFile>> {
        Box::pin(async move { built_in(path) })
    }
}

/// Files of a folder, read anew for each request.
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The files of a folder.
    pub(crate) fn new(root: &Path) -> Self {
        Folder { root: root.to_owned() }
    }
}

impl Pages for Folder {
    fn file<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<StaticFile>> {
        let (root, path) = (self.root.clone(), path.to_owned());
        Box::pin(async move {
            let name = path.clone();
            let read = tokio::task::spawn_blocking(move || {
                let path = name;
                let root = root.canonicalize().ok()?;
                let file = root.join(&path).canonicalize().ok()?;
                // A link may lead out of the folder.
                let bytes = file.starts_with(&root).then(|| std::fs::read(&file))?.ok()?;
                Some((bytes, content_type(&path)))
            });
            let Some((bytes, content_type)) = read.await.ok()? else {
                // Pages of others can embed the player without a copy of their own.
                return if path == PLAYER.0 { built_in(PLAYER.0) } else { None };
            };
            Some(StaticFile {
                etag: ETag::strong(&tag(&bytes))?,
                bytes: bytes.into(),
                content_type: HeaderValue::from_static(content_type),
                freshness: Freshness::AskEachTime,
            })
        })
    }
}

fn tag(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => HTML,
        "js" | "mjs" => SCRIPT,
        "css" => STYLE,
        "svg" => SVG,
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn files_of_a_folder_and_none_beside_it() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("web");
        std::fs::create_dir_all(root.join("assets")).unwrap();
        std::fs::write(root.join("index.html"), "<p>mine</p>").unwrap();
        std::fs::write(root.join("assets/a.js"), "1").unwrap();
        std::fs::write(scratch.path().join("secret"), "2").unwrap();
        std::os::unix::fs::symlink(scratch.path().join("secret"), root.join("link")).unwrap();
        let folder = Folder::new(&root);
        let check = async |path: &str, expect: Option<(&str, &str)>| {
            let file = folder.file(path).await;
            let seen =
                file.as_ref().map(|f| (f.content_type.to_str().unwrap(), str::from_utf8(&f.bytes).unwrap()));
            assert_eq!(seen, expect, "{path}");
        };
        check("index.html", Some((HTML, "<p>mine</p>"))).await;
        check("assets/a.js", Some((SCRIPT, "1"))).await;
        check("assets", None).await;
        check("gone.css", None).await;
        check("link", None).await;
        // The player is there, unless the folder has one.
        assert_eq!(folder.file(PLAYER.0).await.unwrap().bytes, PLAYER.2);
        std::fs::write(root.join(PLAYER.0), "3").unwrap();
        check(PLAYER.0, Some((SCRIPT, "3"))).await;
    }

    fn text(name: &str) -> &'static str {
        let (_, _, bytes) = FILES.iter().find(|(each, ..)| *each == name).unwrap();
        std::str::from_utf8(bytes).unwrap()
    }

    /// What stands between `before` and the next `after`, wherever `before` occurs.
    fn between<'a>(text: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
        text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(there, FILES.iter().map(|(name, ..)| (*name).to_owned()).collect());
    }

    #[test]
    fn nothing_is_asked_for_that_is_not_served() {
        let served: BTreeSet<&str> = FILES.iter().chain([&PLAYER]).map(|(name, ..)| *name).collect();
        let page = text("index.html");
        let asked = between(page, "src=\"/", '"').chain(between(page, "href=\"/", '"'));
        for name in asked.filter(|name| !name.is_empty()) {
            assert!(served.contains(name), "index.html asks for {name}");
        }
        for (file, ..) in FILES.iter().filter(|(name, ..)| name.ends_with(".js")) {
            for name in between(text(file), "from './", '\'').chain(between(text(file), "import('/", '\'')) {
                assert!(served.contains(name), "{file} imports {name}");
            }
        }
    }

    /// What the policy of auth-system.md 4.5 would block, and what would leave the origin.
    #[test]
    fn the_page_keeps_to_its_policy() {
        let page = text("index.html");
        for forbidden in [" style=", "<style", " onclick=", " onload=", "javascript:"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(
            page.split("<script").skip(1).all(|rest| rest.contains("src=") && rest.contains("></script>"))
        );
        for (file, ..) in FILES {
            let names = between(text(file), "://", '"').filter(|rest| !rest.starts_with("www.w3.org/"));
            let outside: Vec<&str> = names.filter(|rest| rest.starts_with(char::is_alphabetic)).collect();
            assert!(outside.is_empty(), "{file} names {outside:?}");
            assert!(!text(file).contains("innerHTML") && !text(file).contains("eval("), "{file}");
        }
        let player = std::str::from_utf8(PLAYER.2).unwrap();
        for forbidden in ["innerHTML", "eval(", "new Function", "cssText"] {
            assert!(!player.contains(forbidden), "the player: {forbidden}");
        }
    }

    #[test]
    fn every_element_that_scripts_look_for_is_there() {
        let ids: BTreeSet<&str> = between(text("index.html"), " id=\"", '"').collect();
        for (file, ..) in FILES.iter().filter(|(name, ..)| name.ends_with(".js")) {
            for id in between(text(file), "find('", '\'') {
                assert!(ids.contains(id), "{file} looks for #{id}");
            }
        }
    }
}
