//! The one writer: takes writes from a bounded queue and commits them in groups.
//!
//! Contract
//! - A group is committed as soon as the writer is idle; what arrives meanwhile shares the next one.
//! - A caller is answered after the commit of its group, never before, and its write runs to the end whether or not it
//!   still waits.
//! - Each group is committed under the epoch that this process took when it opened the store. A group that finds
//!   another epoch commits nothing, and neither does any after it: the writer is fenced.
//! - When the outcome of a COMMIT is unknown, the writer reads `group_no` on a new connection before it answers.
//! - An operation that refuses itself does not concern the others. Any other failure rolls the group back and runs its
//!   members again one by one.
//! - While the database is lost, writes are answered as unavailable at once, and the writer tries to come back.
//! - Numbers of events and batches are given out in commit order, and only from a range that was reserved by a fully
//!   synced commit.

mod checkpoint;
mod group;
mod link;

pub(crate) use checkpoint::Checkpointer;
pub(crate) use link::{Link, Target};

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::error::{ErrorKind, StoreError};
use crate::model::CommittedTo;
use crate::observe::Observed;
use crate::op::{Numbers, Outcome, WriteOp};

/// Writes that wait at most; whoever comes then waits for room.
pub(crate) const QUEUE: usize = 1024;
/// Writes of one group at most.
const GROUP_WRITES: usize = 512;
/// Rows that one group touches at most, roughly: some 20 ms of inserts on SQLite. What a larger group saves is the
/// log, to which each group writes the tail pages of every index anew.
const GROUP_WEIGHT: usize = 4096;
/// First and longest pause between attempts to reach a lost database.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long one attempt may take.
const RECONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Whether writes can be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Yes.
    Up,
    /// The database is lost; the writer tries to come back.
    Down,
    /// Another process took the store over. Final.
    Fenced,
    /// The store was closed.
    Closed,
}

/// Health of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether writes can be committed.
    pub condition: Condition,
    /// Groups that were committed, answered and then lost because the database server stopped uncleanly. When this
    /// rises, rows written lately must be compared with what they describe.
    pub lost_groups: u64,
}

/// The answer to a write.
pub(crate) type Reply = oneshot::Sender<Result<Outcome, StoreError>>;

/// What the writer is asked for.
pub(crate) enum Request {
    Write { op: WriteOp, reply: Reply },
    Close { done: oneshot::Sender<()> },
}

/// A write that waits for its commit.
struct Member {
    op: WriteOp,
    reply: Reply,
}

impl Member {
    fn answer(self, result: Result<Outcome, StoreError>) {
        // A caller that went away does not want to know.
        let _gone = self.reply.send(result);
    }
}

/// A group whose COMMIT was sent and not answered.
struct Doubt {
    members: Vec<(Member, Result<Outcome, StoreError>)>,
    group_no: i64,
}

/// Numbers of events, given out in commit order.
struct Sequence {
    /// The next number.
    next: i64,
    /// First number not reserved; written with every group, never lowered.
    reserved: i64,
    /// The part of the reservation that is known to be safe on disk.
    durable: i64,
}

/// How many event numbers are reserved at a time.
pub(crate) const SEQ_BLOCK: i64 = 1 << 16;

/// What the writer tells those who hold the store.
pub(crate) struct Told {
    pub(crate) health: watch::Sender<Health>,
    pub(crate) committed: watch::Sender<CommittedTo>,
}

/// Everything below the next number is committed.
pub(crate) fn committed_to(next_seq: i64) -> CommittedTo {
    CommittedTo { seq: next_seq - 1, at: std::time::Instant::now() }
}

/// The writer task.
pub(crate) struct Writer {
    link: Link,
    queue: mpsc::Receiver<Request>,
    sequence: Sequence,
    numbers: Numbers,
    /// Number of the newest group that was begun.
    group_no: i64,
    /// Number of the newest group that was answered as committed.
    committed_no: i64,
    doubt: Option<Doubt>,
    health: watch::Sender<Health>,
    committed: watch::Sender<CommittedTo>,
    checkpointer: Option<Checkpointer>,
    observed: Observed,
    closed: Option<oneshot::Sender<()>>,
}

impl Writer {
    /// A writer on a link that has taken its epoch.
    pub(crate) fn new(
        link: Link,
        queue: mpsc::Receiver<Request>,
        Told { health, committed }: Told,
        checkpointer: Option<Checkpointer>,
        observed: Observed,
    ) -> Self {
        let owned = link.owned();
        committed.send_replace(committed_to(owned.next_seq));
        Writer {
            link,
            queue,
            sequence: Sequence { next: owned.next_seq, reserved: owned.reserved, durable: owned.reserved },
            numbers: Numbers::default(),
            group_no: owned.group_no,
            committed_no: owned.group_no,
            doubt: None,
            health,
            committed,
            checkpointer,
            observed,
            closed: None,
        }
    }

    /// Tells of the numbers that are committed by now.
    fn tell_committed(&self) {
        let to = committed_to(self.sequence.next);
        self.committed.send_if_modified(|committed| {
            let is_news = committed.seq < to.seq;
            if is_news {
                *committed = to;
            }
            is_news
        });
    }

    /// Works until the store is closed or every handle is gone, and all that was accepted is done. On SQLite it blocks
    /// its thread, which must be its own.
    pub(crate) async fn run(mut self) {
        loop {
            let condition = self.health.borrow().condition;
            match condition {
                Condition::Up => {
                    let Some(first) = self.next_write().await else { break };
                    let group = self.gather(first);
                    self.write_group(group).await;
                    if let (Some(checkpointer), Ok(conn)) = (&mut self.checkpointer, self.link.conn()) {
                        checkpointer.committed(conn);
                    }
                }
                Condition::Down => {
                    if !self.wait_for_database().await {
                        break;
                    }
                }
                Condition::Fenced | Condition::Closed => {
                    let Some(member) = self.next_write().await else { break };
                    member.answer(Err(fenced()));
                }
            }
        }
        self.finish().await;
    }

    /// The next write; `None` when there will be none.
    async fn next_write(&mut self) -> Option<Member> {
        while let Some(request) = self.queue.recv().await {
            if let Some(member) = self.accept(request) {
                return Some(member);
            }
        }
        None
    }

    fn accept(&mut self, request: Request) -> Option<Member> {
        match request {
            Request::Write { op, reply } => Some(Member { op, reply }),
            Request::Close { done } => {
                // What was accepted before is still done; nothing is accepted after.
                self.queue.close();
                self.closed = Some(done);
                None
            }
        }
    }

    /// The first write and what else is waiting.
    fn gather(&mut self, first: Member) -> Vec<Member> {
        let mut weight = first.op.weight();
        let mut group = vec![first];
        while group.len() < GROUP_WRITES && weight < GROUP_WEIGHT {
            let Ok(request) = self.queue.try_recv() else { break };
            if let Some(member) = self.accept(request) {
                weight += member.op.weight();
                group.push(member);
            }
        }
        group
    }

    fn set_condition(&self, condition: Condition) {
        self.health.send_if_modified(|health| {
            let changed = health.condition != condition;
            health.condition = condition;
            changed
        });
    }

    /// Answers writes as unavailable until the database is back; false when the store is closed meanwhile.
    async fn wait_for_database(&mut self) -> bool {
        let mut pause = BACKOFF.0;
        let mut next_attempt = Instant::now();
        loop {
            tokio::select! {
                request = self.queue.recv() => {
                    let Some(request) = request else { return false };
                    if let Some(member) = self.accept(request) {
                        member.answer(Err(lost()));
                    }
                }
                () = tokio::time::sleep_until(next_attempt) => {
                    let attempt = tokio::time::timeout(RECONNECT_LIMIT, self.come_back()).await;
                    match attempt {
                        Ok(Ok(())) => return true,
                        Ok(Err(error)) if error.kind() == ErrorKind::Fenced => {
                            self.fence();
                            return true;
                        }
                        Ok(Err(error)) => tracing::debug!(?error, "the database is still lost"),
                        Err(_elapsed) => {}
                    }
                    self.link.drop_connection();
                    next_attempt = Instant::now() + pause;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Connects, settles the group in doubt as soon as the database can be read, and is up when it can be written.
    async fn come_back(&mut self) -> Result<(), StoreError> {
        let stored_no = self.link.reconnect().await?;
        self.settle_doubt(stored_no);
        self.link.probe().await?;
        let missing = u64::try_from(self.committed_no - stored_no).unwrap_or(0);
        if missing > 0 {
            tracing::error!(missing, "the database lost groups that it had committed");
        }
        self.committed_no = stored_no;
        tracing::info!("the database is back");
        self.health.send_modify(|health| {
            health.condition = Condition::Up;
            health.lost_groups += missing;
        });
        Ok(())
    }

    /// Answers the group in doubt by the number of the newest group that the database holds.
    fn settle_doubt(&mut self, stored_no: i64) {
        let Some(doubt) = self.doubt.take() else { return };
        let committed = stored_no >= doubt.group_no;
        if committed {
            self.committed_no = doubt.group_no;
            self.tell_committed();
        }
        for (member, result) in doubt.members {
            member.answer(if committed { result } else { Err(lost()) });
        }
    }

    fn fence(&mut self) {
        tracing::error!("another process took the store over");
        if let Some(doubt) = self.doubt.take() {
            for (member, _result) in doubt.members {
                member.answer(Err(fenced()));
            }
        }
        self.link.drop_connection();
        self.set_condition(Condition::Fenced);
    }

    fn lose(&mut self, error: &StoreError) {
        tracing::warn!(?error, "the database is lost");
        self.link.drop_connection();
        self.set_condition(Condition::Down);
    }

    /// Gives back the event numbers that were reserved and not used, and ends the connection.
    async fn finish(mut self) {
        if self.health.borrow().condition == Condition::Up
            && let Err(error) = self.link.give_up(self.group_no + 1, self.sequence.next).await
        {
            tracing::warn!(?error, "the store was not closed in order");
        }
        if let Some(doubt) = self.doubt.take() {
            for (member, _result) in doubt.members {
                member.answer(Err(lost()));
            }
        }
        if let Some(checkpointer) = self.checkpointer.take() {
            checkpointer.stop();
        }
        self.link.close().await;
        if self.health.borrow().condition != Condition::Fenced {
            self.set_condition(Condition::Closed);
        }
        if let Some(done) = self.closed.take() {
            let _gone = done.send(());
        }
    }
}

fn lost() -> StoreError {
    StoreError::new(ErrorKind::Unavailable, "the database is lost")
}

fn fenced() -> StoreError {
    StoreError::new(ErrorKind::Fenced, "another process took the store over")
}

#[cfg(test)]
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[checkpoint::STATEMENTS, link::STATEMENTS];
