//! Puts the embeddable player into the binary.
//!
//! Owns: the copy of `web/player/dist/heldar-player.js` among the build's own files. Never: runs npm; `make demo` and the steps
//! of CI do that before cargo. Where the player was not built, its place is taken by a module that exports nothing, and the
//! page says so.

use std::path::Path;
use std::{env, fs};

const STAND_IN: &str = "// The player was not built: `npm ci` and `npm run build` in web/player, then build heldar again.\nexport {};\n";

fn main() {
    let from = Path::new("../../web/player/dist/heldar-player.js");
    println!("cargo::rerun-if-changed=build.rs");
    // The folder too, or else nobody would notice that the file has come to be.
    println!("cargo::rerun-if-changed={}", from.display());
    println!("cargo::rerun-if-changed=../../web/player/dist");
    let player = fs::read(from).unwrap_or_else(|_| {
        println!(
            "cargo::warning=web/player/dist/heldar-player.js is missing, so this build has no live view in its page; \
             run `npm ci && npm run build` in web/player and build again"
        );
        STAND_IN.as_bytes().to_vec()
    });
    let folder = env::var_os("OUT_DIR").expect("cargo names a folder for what build scripts make");
    fs::write(Path::new(&folder).join("heldar-player.js"), player)
        .expect("the build's own folder can be written to");
}
