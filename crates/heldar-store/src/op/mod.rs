//! Every write as a value.
//!
//! Owns: what each write does inside its transaction. An operation looks before it writes: what it refuses (id taken,
//! nothing there) it refuses before its first change, so that its group goes on without it. Never: a clock, a lock, or
//! a decision that belongs to the kernel.
//!
//! Operations of ingest are idempotent and carry the whole row, so that whoever is unsure whether one took effect
//! sends the newest version again.

mod account;
mod ai_task;
mod api_key;
mod app;
mod audit;
mod batch;
mod camera;
mod clip;
mod consumer;
mod event;
mod gap;
mod motion;
mod numbers;
mod prune;
mod prune_batches;
mod record;
mod segment;
mod sign_in;
mod site;
mod snapshot;
mod status;
mod stream;
mod tx;
mod webhook;
mod zone;
mod zone_event;

pub use account::{CreateAccount, DeleteAccount, PutPreference, UpdateAccount};
pub use ai_task::{ChangeLeases, CreateTask, DeleteTask, LeaseChange, OnTaken, TaskCreated, UpdateTask};
pub use api_key::{CreateApiKey, DeleteApiKey, TouchKeys, UpdateApiKey};
pub use app::{ApplyAppStep, RunApp};
pub use audit::AppendAudit;
pub use batch::StoreBatch;
pub use camera::{CameraCreated, CreateCamera, DeleteCamera, RemoveCamera, UpdateCamera};
pub use clip::{InsertClip, MarkClipsDeleting, RemoveClips};
pub use consumer::{
    Acknowledge, AdvanceCursor, EnsureConsumer, FailDeadLetter, ParkBatch, RemoveConsumer, RemoveDeadLetter,
    ReplayDeadLetters, SkipBatches,
};
pub use event::{AppendEvents, MarkEventSeen, UnmarkEventSeen};
pub use gap::{AppendWanted, PutGap, RemoveGaps};
pub use motion::PutMotion;
pub(crate) use numbers::Numbers;
pub use prune::{Prunable, Prune, ReturnFreePages};
pub use record::{
    CreateRecordSchedule, DeleteRecordSchedule, TriggerRecording, Unarmed, UpdateRecordSchedule,
};
pub use segment::{
    MarkDeleting, Markable, MendSegment, PutOutcome, PutSegment, RemoveMarked, RestateTotals, Seal,
};
pub use sign_in::{ClearFailures, CountFailure, EndSessions, EndSessionsOf, Failure, SignIn, TouchSessions};
pub use site::{CreateSite, DeleteSetting, DeleteSite, OnCameras, PutSetting, UpdateSite};
pub use snapshot::{
    CreateSnapshotSchedule, DeleteSnapshot, DeleteSnapshotSchedule, InsertSnapshot, NoteSnapshotFired,
    OldSnapshots, RemoveSnapshots, UpdateSnapshotSchedule,
};
pub use status::PutStatuses;
pub use stream::{EnsureParams, EnsureStream, ObserveStream};
pub(crate) use tx::{OpError, Tx, conflict, not_found, refused};
pub use webhook::{
    CreateWebhook, DeleteWebhook, DisableWebhook, FinishReplay, PutDelivery, PutWebhookStanding, QueueReplay,
    RemoveDeliveries, SealWebhook, UpdateWebhook,
};
pub use zone::{
    CreateZone, DeleteZone, PutZoneCounters, PutZoneOccupancy, SaveZoneState, UpdateZone, ZoneCreated,
};
pub use zone_event::{AppendZoneEvents, OldZoneEvents, RemoveZoneEvents, SetZoneEvidence, ZoneEventsRemoved};

use std::any::Any;
use std::fmt;

use crate::error::{ErrorKind, StoreError};

/// How safe a write is when its caller is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// It survives the end of this process and of the database; a power cut may take the last moments of a SQLite file. For
    /// what can be found again in the files.
    Relaxed,
    /// It survives a power cut.
    Full,
}

/// A write with the type of its result.
pub trait Operation: Into<WriteOp> + Send {
    /// What its caller learns after the commit.
    type Output: Send + 'static;
}

/// What an operation does.
pub(crate) trait Apply: Operation {
    const DURABILITY: Durability;

    fn apply(&self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Output, OpError>> + Send;
}

/// The result of a write of any type.
pub struct Outcome(Box<dyn Any + Send>);

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outcome")
    }
}

impl Outcome {
    fn new<T: Send + 'static>(value: T) -> Self {
        Outcome(Box::new(value))
    }

    /// The result of an operation of type `O`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it is the result of another type of operation.
    pub fn of<O: Operation>(self) -> Result<O::Output, StoreError> {
        match self.0.downcast() {
            Ok(value) => Ok(*value),
            Err(_other) => Err(StoreError::new(ErrorKind::Internal, "the result is of another operation")),
        }
    }

    /// The results of a [`WriteOp::All`].
    pub(crate) fn list(self) -> Result<Vec<Outcome>, StoreError> {
        match self.0.downcast() {
            Ok(outcomes) => Ok(*outcomes),
            Err(_other) => Err(StoreError::new(ErrorKind::Internal, "the result is of a single operation")),
        }
    }
}

/// Declares the operations of an area.
macro_rules! area {
    ($(#[$meta:meta])* $area:ident { $($op:ident -> $output:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub enum $area {
            $(
                #[doc = concat!("See [`", stringify!($op), "`].")]
                $op(Box<$op>),
            )+
        }

        impl $area {
            fn durability(&self) -> Durability {
                match self { $($area::$op(_) => <$op as Apply>::DURABILITY,)+ }
            }

            async fn apply(&self, tx: &mut Tx<'_>) -> Result<Outcome, OpError> {
                match self { $($area::$op(op) => Box::pin(op.apply(tx)).await.map(Outcome::new),)+ }
            }
        }

        $(
            impl From<$op> for WriteOp {
                fn from(op: $op) -> WriteOp {
                    WriteOp::$area($area::$op(Box::new(op)))
                }
            }
            impl Operation for $op {
                type Output = $output;
            }
        )+
    };
}

area! {
    /// Sites, cameras, settings.
    Registry {
        CreateSite -> (),
        UpdateSite -> (),
        DeleteSite -> (),
        CreateCamera -> CameraCreated,
        UpdateCamera -> (),
        RemoveCamera -> (),
        DeleteCamera -> (),
        PutSetting -> (),
        DeleteSetting -> (),
    }
}
area! {
    /// Streams and segments.
    Recording {
        EnsureStream -> i64,
        EnsureParams -> i64,
        ObserveStream -> (),
        PutSegment -> PutOutcome,
        MendSegment -> (),
        RestateTotals -> (),
        MarkDeleting -> Vec<heldar_base::SegmentId>,
        RemoveMarked -> u64,
    }
}
area! {
    /// Gaps, what was wanted, status.
    Ledger {
        PutGap -> (),
        RemoveGaps -> u64,
        AppendWanted -> bool,
        PutStatuses -> (),
    }
}
area! {
    /// Events, their marks, and audit.
    History {
        AppendEvents -> Vec<i64>,
        AppendAudit -> (),
        MarkEventSeen -> crate::model::Seen,
        UnmarkEventSeen -> bool,
    }
}
area! {
    /// Exported clips.
    Clips {
        InsertClip -> (),
        MarkClipsDeleting -> Vec<crate::model::Clip>,
        RemoveClips -> u64,
    }
}
area! {
    /// Record schedules, recordings that something starts.
    Modes {
        CreateRecordSchedule -> crate::model::RecordSchedule,
        UpdateRecordSchedule -> crate::model::RecordSchedule,
        DeleteRecordSchedule -> (),
        TriggerRecording -> Option<crate::model::Triggered>,
    }
}
area! {
    /// Scheduled snapshots.
    Snapshots {
        CreateSnapshotSchedule -> crate::model::SnapshotSchedule,
        UpdateSnapshotSchedule -> crate::model::SnapshotSchedule,
        DeleteSnapshotSchedule -> (),
        NoteSnapshotFired -> (),
        InsertSnapshot -> (),
        DeleteSnapshot -> crate::model::SnapshotFile,
        RemoveSnapshots -> Vec<crate::model::SnapshotFile>,
    }
}
area! {
    /// People, API keys, login sessions, sign-in protection, preferences.
    Accounts {
        CreateAccount -> (),
        UpdateAccount -> (),
        DeleteAccount -> (),
        SignIn -> (),
        CountFailure -> Failure,
        ClearFailures -> u64,
        TouchSessions -> (),
        EndSessions -> u64,
        EndSessionsOf -> u64,
        CreateApiKey -> (),
        UpdateApiKey -> (),
        DeleteApiKey -> (),
        TouchKeys -> (),
        PutPreference -> (),
    }
}
area! {
    /// AI tasks and leases, batches, their consumers, motion.
    Perception {
        CreateTask -> TaskCreated,
        UpdateTask -> crate::model::AiTask,
        DeleteTask -> (),
        ChangeLeases -> (),
        StoreBatch -> crate::model::BatchStored,
        EnsureConsumer -> i64,
        Acknowledge -> i64,
        RemoveConsumer -> (),
        AdvanceCursor -> (),
        SkipBatches -> (),
        ParkBatch -> (),
        ReplayDeadLetters -> u64,
        RemoveDeadLetter -> (),
        FailDeadLetter -> (),
        PutMotion -> (),
    }
}
area! {
    /// Zones, their engines, what happened in them.
    Zones {
        CreateZone -> ZoneCreated,
        UpdateZone -> crate::model::Zone,
        DeleteZone -> (),
        SaveZoneState -> bool,
        PutZoneOccupancy -> (),
        PutZoneCounters -> (),
        AppendZoneEvents -> Vec<Option<i64>>,
        SetZoneEvidence -> (),
        RemoveZoneEvents -> ZoneEventsRemoved,
    }
}
area! {
    /// Webhooks, how they stand, what became of each event.
    Webhooks {
        CreateWebhook -> crate::model::Webhook,
        UpdateWebhook -> crate::model::Webhook,
        SealWebhook -> (),
        DeleteWebhook -> (),
        RemoveDeliveries -> u64,
        PutWebhookStanding -> (),
        DisableWebhook -> bool,
        PutDelivery -> (),
        QueueReplay -> u64,
        FinishReplay -> (),
    }
}
area! {
    /// What apps bring.
    Apps {
        RunApp -> Vec<u64>,
        ApplyAppStep -> bool,
    }
}
area! {
    /// Work that nobody waits for.
    Maintenance {
        Prune -> u64,
        ReturnFreePages -> (),
    }
}

/// A write of any area, or several that happen together or not at all.
#[derive(Debug)]
pub enum WriteOp {
    /// Sites, cameras, settings.
    Registry(Registry),
    /// Streams and segments.
    Recording(Recording),
    /// Gaps, what was wanted, status.
    Ledger(Ledger),
    /// Events and audit.
    History(History),
    /// Exported clips.
    Clips(Clips),
    /// Record schedules, recordings that something starts.
    Modes(Modes),
    /// Scheduled snapshots.
    Snapshots(Snapshots),
    /// People, API keys, login sessions, sign-in protection, preferences.
    Accounts(Accounts),
    /// AI tasks and leases, batches, their consumers, motion.
    Perception(Perception),
    /// Zones, their engines, what happened in them.
    Zones(Zones),
    /// Webhooks, how they stand, what became of each event.
    Webhooks(Webhooks),
    /// What apps bring.
    Apps(Apps),
    /// Work that nobody waits for.
    Maintenance(Maintenance),
    /// All of these, in this order, in one commit.
    All(Vec<WriteOp>),
}

impl WriteOp {
    /// How safe it must be when its caller is answered.
    pub(crate) fn durability(&self) -> Durability {
        match self {
            WriteOp::Registry(op) => op.durability(),
            WriteOp::Recording(op) => op.durability(),
            WriteOp::Ledger(op) => op.durability(),
            WriteOp::History(op) => op.durability(),
            WriteOp::Clips(op) => op.durability(),
            WriteOp::Modes(op) => op.durability(),
            WriteOp::Snapshots(op) => op.durability(),
            WriteOp::Accounts(op) => op.durability(),
            WriteOp::Perception(op) => op.durability(),
            WriteOp::Zones(op) => op.durability(),
            WriteOp::Webhooks(op) => op.durability(),
            WriteOp::Apps(op) => op.durability(),
            WriteOp::Maintenance(op) => op.durability(),
            WriteOp::All(ops) => app::durability(ops),
        }
    }

    /// How many events, batches and zone events it appends; their numbers are reserved before its group begins.
    pub(crate) fn event_count(&self) -> usize {
        match self {
            WriteOp::History(History::AppendEvents(op)) => op.events.len(),
            WriteOp::Perception(Perception::StoreBatch(op)) => op.numbers(),
            WriteOp::Zones(Zones::AppendZoneEvents(op)) => op.events.len(),
            WriteOp::Modes(Modes::TriggerRecording(_)) => 1,
            WriteOp::All(ops) => ops.iter().map(WriteOp::event_count).sum(),
            _ => 0,
        }
    }

    /// Roughly how many rows it touches, for the size of groups.
    pub(crate) fn weight(&self) -> usize {
        match self {
            WriteOp::History(History::AppendEvents(op)) => op.events.len().max(1),
            WriteOp::Recording(Recording::MarkDeleting(op)) => op.ids.len().max(1),
            WriteOp::Recording(Recording::RemoveMarked(op)) => op.ids.len().max(1),
            WriteOp::Snapshots(Snapshots::RemoveSnapshots(op)) => op.rows() as usize,
            WriteOp::Accounts(Accounts::TouchSessions(op)) => op.touched.len().max(1),
            WriteOp::Accounts(Accounts::TouchKeys(op)) => op.touched.len().max(1),
            WriteOp::Accounts(Accounts::EndSessions(op)) => op.ids.len().max(1),
            WriteOp::Perception(Perception::StoreBatch(op)) => op.rows(),
            WriteOp::Perception(Perception::ChangeLeases(op)) => op.changes.len().max(1),
            WriteOp::Zones(Zones::AppendZoneEvents(op)) => op.events.len().max(1) * 2,
            WriteOp::Zones(Zones::PutZoneOccupancy(op)) => op.rows.len().max(1),
            WriteOp::Zones(Zones::PutZoneCounters(op)) => op.rows.len().max(1),
            WriteOp::Zones(Zones::RemoveZoneEvents(op)) => op.rows() as usize * 4,
            WriteOp::Webhooks(Webhooks::RemoveDeliveries(_)) => prune::SLICE as usize * 4,
            WriteOp::Webhooks(Webhooks::QueueReplay(op)) => op.seqs.len().max(1),
            WriteOp::Apps(Apps::RunApp(op)) => op.statements.len().max(1),
            WriteOp::Apps(Apps::ApplyAppStep(_)) => prune::SLICE as usize * 4,
            // Fewer than a group holds: deletes of several indexes take longer than inserts at their ends.
            WriteOp::Maintenance(_) => prune::SLICE as usize * 4,
            WriteOp::All(ops) => ops.iter().map(WriteOp::weight).sum(),
            _ => 1,
        }
    }

    /// Does it, inside the transaction of its group.
    pub(crate) async fn apply(&self, tx: &mut Tx<'_>) -> Result<Outcome, OpError> {
        match self {
            WriteOp::Registry(op) => op.apply(tx).await,
            WriteOp::Recording(op) => op.apply(tx).await,
            WriteOp::Ledger(op) => op.apply(tx).await,
            WriteOp::History(op) => op.apply(tx).await,
            WriteOp::Clips(op) => op.apply(tx).await,
            WriteOp::Modes(op) => op.apply(tx).await,
            WriteOp::Snapshots(op) => op.apply(tx).await,
            WriteOp::Accounts(op) => op.apply(tx).await,
            WriteOp::Perception(op) => op.apply(tx).await,
            WriteOp::Zones(op) => op.apply(tx).await,
            WriteOp::Webhooks(op) => op.apply(tx).await,
            WriteOp::Apps(op) => op.apply(tx).await,
            WriteOp::Maintenance(op) => op.apply(tx).await,
            WriteOp::All(ops) => {
                let mut outcomes = Vec::with_capacity(ops.len());
                for op in ops {
                    outcomes.push(Box::pin(op.apply(tx)).await?);
                }
                Ok(Outcome::new(outcomes))
            }
        }
    }
}

#[cfg(test)]
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[
    account::STATEMENTS,
    ai_task::STATEMENTS,
    api_key::STATEMENTS,
    audit::STATEMENTS,
    batch::STATEMENTS,
    camera::STATEMENTS,
    clip::STATEMENTS,
    consumer::STATEMENTS,
    event::STATEMENTS,
    gap::STATEMENTS,
    motion::STATEMENTS,
    numbers::STATEMENTS,
    prune::STATEMENTS,
    prune_batches::STATEMENTS,
    record::STATEMENTS,
    segment::STATEMENTS,
    sign_in::STATEMENTS,
    site::STATEMENTS,
    snapshot::STATEMENTS,
    status::STATEMENTS,
    stream::STATEMENTS,
    tx::STATEMENTS,
    webhook::STATEMENTS,
    zone::STATEMENTS,
    zone_event::STATEMENTS,
];
