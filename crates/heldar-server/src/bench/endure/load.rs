//! Viewers and exports beside a recording.

use std::time::Duration;

use heldar_base::{Micros, WallTime};
use serde::Serialize;
use serde_json::json;
use tokio::task::{AbortHandle, JoinHandle};

use crate::bench::http::Client;
use crate::bench::now;
use crate::bench::server::{Server, camera_id};

/// Time that a request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Time between two looks at a playlist.
const RELOAD: Duration = Duration::from_secs(2);
/// Where a viewer begins, before now.
const BEHIND: Micros = Micros::from_secs(10);
/// Longest window of one export.
const LONGEST: Micros = Micros::from_secs(3600);

/// Tasks that end when this is dropped.
pub(super) struct Load {
    viewers: Vec<Task<Seen>>,
    exports: Option<Task<Exported>>,
    stop: tokio::sync::watch::Sender<bool>,
}

struct Task<T> {
    handle: JoinHandle<T>,
    _ends: Ends,
}

struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a viewer received.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Seen {
    camera: String,
    pub(super) segments: u64,
    mib: f64,
    /// Longest time that the end of the newest segment lay behind the present, in seconds.
    behind_s: f64,
    pub(super) error: Option<String>,
}

/// What exports received.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Exported {
    pub(super) files: u64,
    mib: f64,
    pub(super) error: Option<String>,
}

impl Load {
    /// Starts all of them, for a time.
    pub(super) fn start(
        server: &Server,
        cameras: usize,
        viewers: u32,
        export_mbit: u64,
        length: Duration,
    ) -> Load {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let to = now() + Micros::from_std(length);
        let viewers = (0..viewers as usize)
            .map(|number| {
                let viewer = Viewer { camera: camera_id(number % cameras), client: server.client(LIMIT) };
                task(viewer.watch(to, stopped.clone()))
            })
            .collect();
        let exports = (export_mbit > 0)
            .then(|| task(export(server.client(LIMIT), cameras, export_mbit * 125_000, stopped)));
        Load { viewers, exports, stop }
    }

    /// Tells them to end, and what they received.
    pub(super) async fn finish(self) -> (Vec<Seen>, Option<Exported>) {
        self.stop.send_replace(true);
        let lost = |error: tokio::task::JoinError| Some(error.to_string());
        let mut viewers = Vec::new();
        for viewer in self.viewers {
            viewers.push(
                viewer.handle.await.unwrap_or_else(|error| Seen { error: lost(error), ..Seen::default() }),
            );
        }
        let exports = match self.exports {
            None => None,
            Some(exports) => {
                let done = exports.handle.await;
                Some(done.unwrap_or_else(|error| Exported { error: lost(error), ..Exported::default() }))
            }
        };
        (viewers, exports)
    }
}

fn task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Task<T> {
    let handle = tokio::spawn(work);
    Task { _ends: Ends(handle.abort_handle()), handle }
}

struct Viewer {
    camera: String,
    client: Client,
}

impl Viewer {
    /// Opens a session whose end lies ahead, and fetches each segment once, when it is listed.
    async fn watch(mut self, to: WallTime, mut stopped: tokio::sync::watch::Receiver<bool>) -> Seen {
        let mut seen = Seen { camera: self.camera.clone(), ..Seen::default() };
        let outcome = async {
            let path = format!("/api/v1/cameras/{}/playback/sessions", self.camera);
            let body = json!({ "from": now() - BEHIND, "to": to });
            let session = self.client.post(&path, &body).await?.success()?;
            let playlist = session["playlist_url"].as_str().ok_or("the session has another form")?.to_owned();
            let mut maps = std::collections::HashSet::new();
            while !*stopped.borrow() {
                let answer = self.client.get(&playlist).await?;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                if answer.status != 200 {
                    return Err(format!("{playlist}: status {}", answer.status));
                }
                let listed = segments(&text);
                if let Some(newest) = listed.last() {
                    seen.behind_s = seen.behind_s.max((now() - newest.end).as_secs_f64());
                }
                for segment in listed.iter().skip(usize::try_from(seen.segments).unwrap_or(usize::MAX)) {
                    if maps.insert(segment.map.0.clone()) {
                        self.fetch(&segment.map, &mut seen).await?;
                    }
                    self.fetch(&segment.part, &mut seen).await?;
                    seen.segments += 1;
                }
                if text.contains("#EXT-X-ENDLIST") {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(RELOAD) => {}
                    _ = stopped.changed() => {}
                }
            }
            Ok(())
        };
        let outcome: Result<(), String> = outcome.await;
        seen.error = outcome.err();
        seen
    }

    async fn fetch(&mut self, part: &Part, seen: &mut Seen) -> Result<(), String> {
        let answer = match part.1 {
            Some(range) => self.client.get_range(&part.0, range).await?,
            None => self.client.get(&part.0).await?,
        };
        let expected = part.1.map(|(_, length)| length);
        let length = answer.body.len() as u64;
        if !(200..300).contains(&answer.status) || expected.is_some_and(|expected| expected != length) {
            return Err(format!("{}: status {}, {length} bytes of {expected:?}", part.0, answer.status));
        }
        seen.mib += length as f64 / 1_048_576.0;
        Ok(())
    }
}

/// A URL and the bytes of it, `(offset, length)`.
type Part = (String, Option<(u64, u64)>);

#[derive(Debug, PartialEq)]
struct Listed {
    map: Part,
    part: Part,
    end: WallTime,
}

/// The media segments of a playlist of ours, in order. What does not fit is left out.
fn segments(text: &str) -> Vec<Listed> {
    let mut all = Vec::new();
    let (mut map, mut range, mut start, mut length) = (None, None, None, 0.0);
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            map = value.split_once('"').map(|(url, rest)| {
                let range =
                    rest.strip_prefix(",BYTERANGE=\"").and_then(|r| byte_range(r.trim_end_matches('"')));
                (url.to_owned(), range)
            });
        } else if let Some(value) = line.strip_prefix("#EXT-X-BYTERANGE:") {
            range = byte_range(value);
        } else if let Some(value) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            start = WallTime::parse(value).ok();
        } else if let Some(value) = line.strip_prefix("#EXTINF:") {
            length = value.trim_end_matches(',').parse().unwrap_or(0.0);
        } else if !line.is_empty()
            && !line.starts_with('#')
            && let (Some(map), Some(start)) = (map.clone(), start)
        {
            let end = start + Micros((length * 1e6) as i64);
            all.push(Listed { map, part: (line.to_owned(), range.take()), end });
        }
    }
    all
}

/// `<length>@<offset>` (RFC 8216 4.3.2.2).
fn byte_range(text: &str) -> Option<(u64, u64)> {
    let (length, offset) = text.split_once('@')?;
    Some((offset.parse().ok()?, length.parse().ok()?))
}

/// Downloads what was recorded so far, of one camera after another, at most an hour of each.
async fn export(
    mut client: Client,
    cameras: usize,
    bytes_per_s: u64,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) -> Exported {
    let mut done = Exported::default();
    let begun = now() - BEHIND;
    for number in 0.. {
        let to = now() - Micros::from_secs(3);
        let from = begun.max(to - LONGEST);
        let camera = camera_id(number % cameras);
        let path = format!("/api/v1/cameras/{camera}/video.mp4?from={from}&to={to}&download=1");
        let outcome = tokio::select! {
            outcome = client.drain(&path, bytes_per_s) => outcome,
            _ = stopped.changed() => break,
        };
        match outcome {
            Ok(bytes) => {
                done.files += 1;
                done.mib += bytes as f64 / 1_048_576.0;
            }
            Err(error) => {
                done.error = Some(error);
                break;
            }
        }
    }
    done
}

impl Seen {
    /// In words.
    pub(super) fn line(&self) -> String {
        let Seen { camera, segments, mib, behind_s, error } = self;
        let trouble = error.as_ref().map_or(String::new(), |error| format!(", FAILED: {error}"));
        format!(
            "viewer of {camera}: {segments} segments, {mib:.1} MiB, {behind_s:.1} s behind at most{trouble}\n"
        )
    }
}

impl Exported {
    /// In words.
    pub(super) fn line(&self) -> String {
        let Exported { files, mib, error } = self;
        let trouble = error.as_ref().map_or(String::new(), |error| format!(", FAILED: {error}"));
        format!("exports: {files} complete, {mib:.1} MiB{trouble}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playlists_are_read() {
        let text = "#EXTM3U\n#EXT-X-MAP:URI=\"/a.mp4?base=0\",BYTERANGE=\"700@0\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n#EXTINF:2.000000,\n#EXT-X-BYTERANGE:40@700\n/a.mp4?base=0\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:02.000Z\n#EXTINF:1.500000,\n/seg_1.m4s\n";
        let start = WallTime::parse("2026-01-01T00:00:00Z").unwrap();
        let map = ("/a.mp4?base=0".to_owned(), Some((0, 700)));
        let listed = |part: (&str, Option<(u64, u64)>), end_ms| Listed {
            map: map.clone(),
            part: (part.0.to_owned(), part.1),
            end: start + Micros::from_millis(end_ms),
        };
        let expect = [listed(("/a.mp4?base=0", Some((700, 40))), 2000), listed(("/seg_1.m4s", None), 3500)];
        assert_eq!(segments(text), expect);
    }
}
