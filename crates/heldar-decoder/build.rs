//! Links libturbojpeg, wherever the system keeps it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Err(error) = pkg_config::Config::new().atleast_version("2.0").probe("libturbojpeg") {
        panic!("libturbojpeg is needed (Debian: libturbojpeg0-dev): {error}");
    }
}
