//! Encodes every clip of the generated scene into a folder: `make_media [FOLDER]`.

use std::path::PathBuf;

fn main() -> Result<(), heldar_testcam::Error> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("media"), PathBuf::from);
    heldar_testcam::make_media(&folder, std::io::stdout())
}
