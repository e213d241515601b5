//! The control socket of a running server: one order a connection, one line there and one line back.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heldar_kernel::kernel::Kernel;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{Order, Place};

/// Longest line.
const MAX_LINE: u64 = 64 * 1024;
/// Longest time for an order.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of an order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Done {
    Ok(Value),
    Error(String),
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Takes orders for as long as the server runs. A folder in which no socket can be made costs these commands, and nothing
/// else.
pub(crate) fn serve(kernel: &Arc<Kernel>, port: u16) {
    let path = path(&kernel.settings.storage.data_dir);
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "no control socket: `heldar user` and the like work on a stopped server only");
            return;
        }
    };
    let kernel = Arc::downgrade(kernel);
    // reason: it lasts as long as the process, and holds nothing of it.
    let _serving = tokio::spawn(async move {
        loop {
            let Ok((stream, _peer)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Some(kernel) = kernel.upgrade() else { return };
            tokio::spawn(async move {
                if tokio::time::timeout(PATIENCE, answer(stream, &kernel, port)).await.is_err() {
                    tracing::debug!("an order took too long");
                }
            });
        }
    });
}

/// Made in a folder that only its owner can enter, and moved out of there when it is closed to others too. What is at the
/// path is of a server that has ended: the data folder has one owner.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let private = path.with_extension("making");
    gone(std::fs::remove_dir_all(&private))?;
    std::fs::DirBuilder::new().mode(0o700).create(&private)?;
    let made = private.join("sock");
    let listener = UnixListener::bind(&made)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made, path)?;
    std::fs::remove_dir(&private)?;
    Ok(listener)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn answer(stream: UnixStream, kernel: &Arc<Kernel>, port: u16) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let read = BufReader::new(reader.take(MAX_LINE)).read_line(&mut line).await;
    let done = match read.map(|_| serde_json::from_str::<Order>(&line)) {
        Ok(Ok(order)) => match Place::of(kernel, port).execute(order).await {
            Ok(value) => Done::Ok(value),
            Err(text) => Done::Error(text),
        },
        _ => Done::Error("this is no order; client and server are of different versions".to_owned()),
    };
    zeroize::Zeroize::zeroize(&mut line);
    let Ok(mut text) = serde_json::to_string(&done) else { return };
    text.push('\n');
    // Who asked may be gone.
    let _told = writer.write_all(text.as_bytes()).await;
}

/// Has the server that works on a folder carry out an order.
pub(super) async fn ask(data_dir: &Path, order: &Order) -> Result<Value, String> {
    let asked = async {
        let stream = UnixStream::connect(path(data_dir)).await?;
        let (reader, mut writer) = stream.into_split();
        let mut text = serde_json::to_string(order)?;
        text.push('\n');
        writer.write_all(text.as_bytes()).await?;
        zeroize::Zeroize::zeroize(&mut text);
        let mut line = String::new();
        BufReader::new(reader.take(16 << 20)).read_line(&mut line).await?;
        Ok::<Done, io::Error>(serde_json::from_str(&line)?)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(Done::Ok(value))) => Ok(value),
        Ok(Ok(Done::Error(text))) => Err(text),
        Ok(Err(error)) => {
            Err(format!("a server works on this data folder, and its control socket fails: {error}"))
        }
        Err(_elapsed) => Err("a server works on this data folder, and does not answer".to_owned()),
    }
}
