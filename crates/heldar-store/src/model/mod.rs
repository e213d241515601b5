//! The rows of the store as types: parsed once when read, checked once when written.

mod account;
mod ai_task;
mod api_key;
mod audit;
mod batch;
mod camera;
mod clip;
mod consumer;
mod event;
mod feed;
pub(crate) mod frame_key;
mod gap;
mod page;
mod record;
mod segment;
mod sign_in;
mod snapshot;
mod status;
mod stream;
mod webhook;
mod zone;
mod zone_event;

pub use account::{Account, AccountFields, Preference, StoredScope};
pub use ai_task::{AiTask, AiTaskFields, AiWorker, TaskLease, TaskOrigin, Transport, WorkerKey};
pub use api_key::{ApiKey, ApiKeyFields, OldKey};
pub use audit::{AuditCursor, AuditEntry, AuditFilter, AuditOutcome};
pub use batch::{
    Batch, BatchStored, Detection, DetectionBox, DetectionCursor, DetectionFilter, DetectionId,
    DetectionOrder, FullBatch, MotionSpan, NewBatch, NewDetection, NewestFrame, PerceptionTotals, Producer,
    Share,
};
pub use camera::{
    Camera, CameraFields, DeviceTls, RecordMode, RtspTransport, Setting, Site, SiteFields, SiteView,
};
pub use clip::{Clip, ClipCursor, ClipFilter};
pub use consumer::{Consumer, ConsumerKind, DeadLetter};
pub use event::{
    Alert, AlertCursor, Event, EventCount, EventCursor, EventFilter, EventOrder, NewEvent, Seen, Severity,
};
pub use feed::{CommittedTo, FeedBatches, FeedFloors, FeedPage, FeedRow, FeedWants};
pub use gap::{FillState, Gap, GapCursor, GapFilter, GapOrder, WantedChange};
pub use page::{Page, TimeRange};
pub use record::{RecordSchedule, RecordScheduleFields, RecordWindow, Triggered};
pub use segment::{Hole, Segment, SegmentSpan, SegmentState};
pub use sign_in::{ClientCursor, KnownClient, SignInFailure, SignInSession};
pub use snapshot::{Snapshot, SnapshotFile, SnapshotSchedule, SnapshotScheduleFields};
pub use status::{CameraState, CameraStatus};
pub use stream::{AudioFormat, CodecParams, Observed, Stream, StreamSums, StreamTotals, WriteRate};
pub use webhook::{
    DeliveredEvent, DeliveryCursor, DeliveryStatus, Webhook, WebhookDelivery, WebhookFields, WebhookFormat,
    WebhookStanding,
};
pub use zone::{Zone, ZoneCounters, ZoneFields, ZoneOccupancy, ZoneState};
pub use zone_event::{
    NewZoneEvent, StoredZoneEvent, ZoneBucket, ZoneBucketFilter, ZoneBuckets, ZoneEvent, ZoneEventCursor,
    ZoneEventFilter, ZoneEventId, ZoneEventOrder, ZoneSource,
};

/// Declares a closed vocabulary with its stable words in the store and on the wire.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Its stable word.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok($name::$variant),)+ _ => Err(()) }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(|()| {
                    let words: Vec<&str> = $name::ALL.iter().map(|word| word.as_str()).collect();
                    serde::de::Error::custom(format_args!("expected one of: {}", words.join(", ")))
                })
            }
        }

        impl From<$name> for $crate::sql::Arg {
            fn from(value: $name) -> Self {
                value.as_str().into()
            }
        }
    )+};
}
pub(crate) use words;
