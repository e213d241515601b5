//! The event feed over HTTP: server-sent events, WebSocket, outbox (perception.md 15).
//!
//! Owns: parameters, and the form of messages. Never: which rows a listener gets, which `crate::feed` decides.

mod outbox;
mod shape;
mod socket;
mod sse;

use heldar_http::{ApiError, RouteTable};
use heldar_store::{FeedBatches, FeedWants, Severity};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use super::{Api, words};
use crate::feed::{Filter, Start};

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    sse::routes(table);
    socket::routes(table);
    outbox::routes(table);
}

/// A list, as an array or as text with commas.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    List(Vec<String>),
    Text(String),
}

/// What a client wants to hear of; in a query, and in what a WebSocket's client says.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
struct Wish {
    /// Start after this number; by default with what comes from now on.
    #[serde(default)]
    since_seq: Option<i64>,
    /// Cameras, comma-separated; by default all in scope.
    #[serde(default, deserialize_with = "list")]
    #[param(value_type = Option<String>)]
    camera_id: Option<Vec<String>>,
    /// Types of events, comma-separated; one may end in `*`.
    #[serde(default, deserialize_with = "list")]
    #[param(value_type = Option<String>)]
    event_type: Option<Vec<String>>,
    /// Zones of events, comma-separated.
    #[serde(default, deserialize_with = "list")]
    #[param(value_type = Option<String>)]
    zone_id: Option<Vec<String>>,
    /// Events of at least this severity.
    #[serde(default)]
    #[param(inline, value_type = words::Severity, required = false)]
    min_severity: Option<Severity>,
    /// `events` (default), `detections`, or both with a comma between.
    #[serde(default, deserialize_with = "list")]
    #[param(value_type = Option<String>)]
    topics: Option<Vec<String>>,
    /// `detections`: batches in full.
    #[serde(default, deserialize_with = "list")]
    #[param(value_type = Option<String>)]
    include: Option<Vec<String>>,
    /// WebSocket: most messages that are ahead of the client's acknowledgement, moved into 1..1000.
    #[serde(default)]
    window: Option<i64>,
}

/// Reads a list in either form; blanks are dropped, and a list of nothing is none.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let words = match Option::<Words>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Words::List(words)) => words,
        Some(Words::Text(text)) => text.split(',').map(str::to_owned).collect(),
    };
    let words: Vec<String> =
        words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Ok((!words.is_empty()).then_some(words))
}

impl Wish {
    /// What of the feed is wanted.
    fn filter(&self) -> Result<Filter, ApiError> {
        let mut wants = FeedWants { events: false, batches: FeedBatches::Leave };
        let mut batches = FeedBatches::Headers;
        for word in self.include.iter().flatten() {
            match word.as_str() {
                "detections" => batches = FeedBatches::Full,
                _ => return Err(ApiError::validation("include", "`include` must be `detections`")),
            }
        }
        match &self.topics {
            None => wants.events = true,
            Some(topics) => {
                for topic in topics {
                    match topic.as_str() {
                        "events" => wants.events = true,
                        "detections" => wants.batches = batches,
                        _ => {
                            let text = "`topics` must be `events`, `detections`, or both";
                            return Err(ApiError::validation("topics", text));
                        }
                    }
                }
            }
        }
        let set = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.iter().cloned().collect());
        Ok(Filter {
            cameras: set(&self.camera_id),
            types: self.event_type.clone(),
            zones: set(&self.zone_id),
            min_severity: self.min_severity.unwrap_or(Severity::Info),
            wants,
        })
    }

    /// Where it begins.
    fn start(&self) -> Option<Start> {
        self.since_seq.map(Start::After)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(value: serde_json::Value) -> Wish {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn lists_come_in_two_forms() {
        for value in [
            serde_json::json!({ "camera_id": " gate, yard,," }),
            serde_json::json!({ "camera_id": ["gate", " ", "yard "] }),
        ] {
            assert_eq!(wish(value).camera_id.unwrap(), ["gate", "yard"]);
        }
        assert_eq!(wish(serde_json::json!({ "camera_id": "" })).camera_id, None);
        assert_eq!(wish(serde_json::json!({ "camera_id": null })).camera_id, None);
    }

    #[test]
    fn topics_say_what_is_wanted() {
        let check = |value: serde_json::Value, events: bool, batches: FeedBatches| {
            let filter = wish(value.clone()).filter().unwrap();
            assert_eq!(filter.wants, FeedWants { events, batches }, "{value}");
        };
        check(serde_json::json!({}), true, FeedBatches::Leave);
        check(serde_json::json!({ "include": "detections" }), true, FeedBatches::Leave);
        check(serde_json::json!({ "topics": "detections" }), false, FeedBatches::Headers);
        let both = serde_json::json!({ "topics": "events,detections", "include": "detections" });
        check(both, true, FeedBatches::Full);
        for value in [serde_json::json!({ "topics": "x" }), serde_json::json!({ "include": "events" })] {
            assert!(wish(value).filter().is_err());
        }
    }
}
