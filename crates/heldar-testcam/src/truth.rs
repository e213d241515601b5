//! What HTTP answers: cameras, what was sent when and what it showed, and faults on demand.
//!
//! Owns: paths and queries to answers. Knows no sockets.
//!
//! - `GET /cameras`: what is announced, and sessions, skips and skipped units of each main stream.
//! - `GET /profiles`: names and descriptions of the zoo.
//! - `GET /sent/{stream}?n=&limit=`: when the picture with number `n`, or any, was sent; the newest first, one by default.
//! - `GET /truth/{stream}?from=&to=`: pictures sent within the interval, with the boxes of what they show.
//! - `POST /fault/{camera or all}?name=&value=&after=&for=&every=`: adds a fault ([`FaultSpec`]); `name=none` ends all.
//!
//! A stream is `cam1` or `cam1_sub`; times are RFC 3339 or UTC microseconds.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use heldar_base::WallTime;
use serde::Serialize;
use serde_json::{Value, json};

use crate::assemble::{self, Library};
use crate::clock::wall_now;
use crate::fault::{Fault, FaultSpec};
use crate::feed::{Feed, lock};
use crate::host::Camera;
use crate::log::Sent;
use crate::profile;
use crate::run::CameraInfo;
use crate::scene::Object;

/// Pictures in one answer at most.
const MAX_PICTURES: usize = 5000;

/// An answer: status and body.
pub(crate) type Answer = (u16, Value);

/// Everything the answers are made from.
pub(crate) struct Truth {
    pub(crate) cameras: Vec<Arc<Camera>>,
    pub(crate) infos: Vec<CameraInfo>,
    pub(crate) library: Arc<Library>,
    pub(crate) video: Option<PathBuf>,
}

#[derive(Serialize)]
struct SentPicture {
    /// Number burned into the picture.
    n: u32,
    /// How often the clip had been finished before.
    #[serde(rename = "loop")]
    loops: u32,
    /// When it was sent, UTC microseconds.
    sent_at_us: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<Object>>,
}

impl SentPicture {
    fn new(sent: Sent, objects: Option<Vec<Object>>) -> Self {
        SentPicture { n: sent.number, loops: sent.loops, sent_at_us: sent.at.0, objects }
    }
}

fn fail(status: u16, message: &str) -> Answer {
    (status, json!({ "error": message }))
}

/// Parts of a query, percent-decoded.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Query(pairs.collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// A point in time: RFC 3339, or UTC microseconds.
    fn time(&self, key: &str) -> Result<Option<WallTime>, Answer> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let micros = text.parse().ok().map(WallTime);
        let time = micros.or_else(|| WallTime::parse(text).ok());
        time.map(Some).ok_or_else(|| fail(400, &format!("`{key}` is no time")))
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped =
            tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, escaped) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Truth {
    fn feed(&self, path: &str) -> Result<&Arc<Mutex<Feed>>, Answer> {
        let mut feeds = self.cameras.iter().flat_map(|camera| &camera.feeds);
        feeds.find(|feed| lock(feed).path == path).ok_or_else(|| fail(404, "no such camera"))
    }

    /// Answers a GET.
    pub(crate) fn get(&self, path: &str, query: &Query) -> Answer {
        let answered = match path.split_once('/').unwrap_or((path, "")) {
            ("cameras", "") => {
                Ok((200, json!(self.infos.iter().map(|info| self.camera(info)).collect::<Vec<_>>())))
            }
            ("profiles", "") => Ok((200, profiles())),
            ("sent", path) => self.sent(path, query),
            ("truth", path) => self.truth(path, query),
            _ => Err(fail(404, "not found")),
        };
        answered.unwrap_or_else(|refused| refused)
    }

    fn camera(&self, info: &CameraInfo) -> Value {
        let mut value = json!(info);
        let camera = self.cameras.iter().find(|camera| camera.name == info.camera);
        let stats = camera.and_then(|camera| camera.feeds.first()).map(|feed| lock(feed).stream.stats());
        if let (Some(stats), Some(fields)) = (stats, value.as_object_mut()) {
            fields.insert("sessions".to_owned(), json!(stats.sessions));
            fields.insert("skips".to_owned(), json!(stats.skips));
            fields.insert("skipped_units".to_owned(), json!(stats.skipped_units));
        }
        value
    }

    /// `n`: a picture number; `limit`: how many, newest first, 1 if not told.
    fn sent(&self, path: &str, query: &Query) -> Result<Answer, Answer> {
        let number =
            query.get("n").map(|text| text.parse().map_err(|_| fail(400, "`n` is no number"))).transpose()?;
        let limit = query
            .get("limit")
            .map_or(Ok(1), |text| text.parse().map_err(|_| fail(400, "`limit` is no number")))?;
        let feed = lock(self.feed(path)?);
        let sent = feed.log.newest_first(number).take(limit.min(MAX_PICTURES));
        Ok((200, json!(sent.map(|sent| SentPicture::new(sent, None)).collect::<Vec<_>>())))
    }

    /// `from`, `to`: when the pictures were sent; the last second if not told.
    fn truth(&self, path: &str, query: &Query) -> Result<Answer, Answer> {
        let to = query.time("to")?.unwrap_or_else(wall_now);
        let from = query.time("from")?.unwrap_or(to - heldar_base::Micros::from_secs(1));
        let feed = lock(self.feed(path)?);
        if feed.scenes[0].is_none() {
            return Err(fail(404, "this camera shows no generated scene"));
        }
        let pictures = feed.log.between(from, to).take(MAX_PICTURES).map(|sent| {
            let scene = feed.scenes[usize::from(sent.alternate)];
            SentPicture::new(sent, scene.map(|scene| scene.objects(sent.number)))
        });
        Ok((200, json!(pictures.collect::<Vec<_>>())))
    }

    /// Answers a POST. Encodes pictures of another size if a fault needs them; blocks meanwhile.
    pub(crate) fn post(&self, path: &str, query: &Query) -> Answer {
        self.fault(path, query).unwrap_or_else(|refused| refused)
    }

    fn fault(&self, path: &str, query: &Query) -> Result<Answer, Answer> {
        let Some(("fault", name)) = path.split_once('/') else { return Err(fail(404, "not found")) };
        let cameras: Vec<&Arc<Camera>> =
            self.cameras.iter().filter(|camera| name == "all" || camera.name == name).collect();
        if cameras.is_empty() {
            return Err(fail(404, "no such camera"));
        }
        let fault = query.get("name").ok_or_else(|| fail(400, "`name` is missing"))?;
        if fault == "none" {
            cameras.iter().for_each(|camera| camera.control.clear(Instant::now()));
            return Ok((200, json!({ "cleared": cameras.len() })));
        }
        let pairs = query
            .0
            .iter()
            .filter(|(key, _)| key != "name")
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let spec = FaultSpec::from_pairs(fault, pairs).map_err(|error| fail(400, &error.to_string()))?;
        if spec.fault == Fault::ParamChange {
            cameras
                .iter()
                .flat_map(|camera| &camera.feeds)
                .try_for_each(|feed| assemble::add_alternate(feed, self.video.as_ref(), &self.library))
                .map_err(|error| fail(500, &error.to_string()))?;
        }
        let now = Instant::now();
        for camera in &cameras {
            camera.control.add(spec, now);
            // Takes effect at once, not with the next picture.
            camera.feeds.iter().for_each(|feed| lock(feed).refresh(now));
        }
        Ok((200, json!({ "cameras": cameras.len() })))
    }
}

fn profiles() -> Value {
    let list = profile::all().iter().map(|p| json!({ "name": p.name, "description": p.description }));
    json!(list.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queries() {
        let query = Query::parse("a=1&b=x%20y+z&c&from=1970-01-01T00:00:01%2B00:00&to=5&bad=%zz");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("b"), Some("x y z"));
        assert_eq!(query.get("c"), Some(""));
        assert_eq!(query.get("bad"), Some("%zz"));
        assert_eq!(query.time("from"), Ok(Some(WallTime(1_000_000))));
        assert_eq!(query.time("to"), Ok(Some(WallTime(5))));
        assert!(query.time("b").is_err());
    }

    proptest! {
        #[test]
        fn any_query_is_survived(text in ".{0,40}") {
            let _outcome = Query::parse(&text);
        }
    }
}
