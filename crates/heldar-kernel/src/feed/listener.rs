//! One who listens: from the store as long as it is behind the hub, from the hub from then on.
//!
//! Owns: its position, its filter and its scope. Contract: `try_next` never waits; `wait` may be dropped at any time and
//! loses nothing. Invariant: what it has taken and not given out yet is bounded by one page of the store or one look at the
//! hub.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use heldar_base::{CameraId, Scope};
use heldar_store::StoreError;
use tokio::sync::watch;

use super::filter::Filter;
use super::hub::{PAGE, Position, REST, Taken};
use super::message::Message;
use super::{EventFeed, Kind, Member};

/// Items of the hub looked at in one go.
const STEP: usize = 256;

/// Where a listener begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Now,
    /// After a number.
    After(i64),
    /// After something that is not there any more.
    Lost,
}

/// What a listener gets.
#[derive(Clone, Debug)]
pub enum Given {
    /// A row.
    Message(Arc<Message>),
    /// Rows that it wanted are gone.
    Gap {
        /// After which number it would have gone on.
        from_seq: i64,
        /// From here on nothing is gone.
        first_seq: i64,
    },
}

/// One who listens.
pub struct Listener {
    feed: Arc<EventFeed>,
    member: Arc<Member>,
    number: u64,
    kind: Kind,
    filter: Filter,
    scope: Scope,
    position: Position,
    /// Whether what comes next has left the hub.
    is_behind: bool,
    /// Up to where it was told that rows are gone.
    told: i64,
    waiting: VecDeque<Given>,
    /// Whether nothing was given out since it last waited.
    has_waited: bool,
    changes: watch::Receiver<u64>,
}

impl EventFeed {
    /// Somebody listens from now on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn listen(
        self: &Arc<Self>,
        kind: Kind,
        scope: Scope,
        filter: Filter,
        start: Start,
    ) -> Result<Listener, StoreError> {
        let (number, member) = self.join(kind);
        self.hub.join(filter.wants.batches);
        let mut listener = Listener {
            feed: self.clone(),
            member,
            number,
            kind,
            filter,
            scope,
            position: Position::after(self.head()),
            is_behind: false,
            told: 0,
            waiting: VecDeque::new(),
            has_waited: false,
            changes: self.hub.changes(),
        };
        listener.go_to(start).await?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.hub.leave(self.filter.wants.batches);
        self.feed.leave(self.number, self.kind);
    }
}

impl Listener {
    /// Goes on from somewhere else.
    ///
    /// # Errors
    /// The store cannot be read; nothing has changed then.
    pub async fn go_to(&mut self, start: Start) -> Result<(), StoreError> {
        let head = self.feed.head();
        let (after, is_lost) = match start {
            Start::Now => (head, false),
            Start::After(seq) => (seq.max(0), false),
            Start::Lost => (0, true),
        };
        let floor = match start {
            Start::Now => 0,
            _ => self.filter.floor(self.feed.floors().await?),
        };
        self.waiting.clear();
        self.told = floor;
        self.is_behind = false;
        if after > head {
            // A number that was never given out here: that of another store, or of this one before it was restored.
            self.position = Position::after(head);
            self.waiting.push_back(Given::Gap { from_seq: after, first_seq: head + 1 });
            return Ok(());
        }
        self.position = Position::after(after);
        if is_lost || floor > after {
            self.waiting.push_back(Given::Gap { from_seq: after, first_seq: floor + 1 });
        }
        Ok(())
    }

    /// Wants something else from now on, from where it is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn change(&mut self, filter: Filter, start: Option<Start>) -> Result<(), StoreError> {
        // What was taken and not given out is taken once more by the new filter.
        let at = self.seq();
        self.feed.hub.join(filter.wants.batches);
        let before = std::mem::replace(&mut self.filter, filter);
        self.feed.hub.leave(before.wants.batches);
        self.go_to(start.unwrap_or(Start::After(at))).await
    }

    /// May see this from now on.
    pub fn limit(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// What it wants.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// What it may see.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Every row up to here has been given to it, or was not for it.
    pub fn seq(&self) -> i64 {
        let first = self.waiting.iter().find_map(|given| match given {
            Given::Message(message) => Some(message.seq() - 1),
            Given::Gap { .. } => None,
        });
        first.unwrap_or(self.position.seq)
    }

    /// Resolves when it is too slow and has to go.
    pub fn cut(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut cut = self.member.cut.subscribe();
        async move {
            if cut.wait_for(|cut| *cut).await.is_err() {
                // It has left by itself.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is there for it.
    pub fn try_next(&mut self) -> Option<Given> {
        loop {
            while let Some(given) = self.waiting.pop_front() {
                let Given::Message(message) = &given else { return Some(given) };
                // Its scope may have become another one since.
                if self.filter.takes(&self.scope, message) {
                    // One of those that come together tells enough.
                    if std::mem::take(&mut self.has_waited)
                        && let Some(at) = message.committed_at
                    {
                        self.feed.meters.latency.observe(at.elapsed().as_secs_f64());
                    }
                    return Some(given);
                }
            }
            if !self.look(STEP) {
                return None;
            }
        }
    }

    /// Takes what the hub has, up to `most` items; false: there is nothing, or what comes next has left it.
    fn look(&mut self, most: usize) -> bool {
        self.changes.mark_unchanged();
        let (filter, scope, waiting) = (&self.filter, &self.scope, &mut self.waiting);
        let taken = self.feed.hub.take(&mut self.position, filter.wants.batches, most, |message| {
            if filter.takes(scope, message) {
                waiting.push_back(Given::Message(message.clone()));
            }
        });
        self.is_behind = taken == Taken::Behind;
        if !self.is_behind {
            self.member.mark.store(self.position.item(), Ordering::Relaxed);
        }
        taken == Taken::Some || !self.waiting.is_empty()
    }

    /// Takes from the hub what comes while nothing is given out, so that only what is for it counts as waiting; up to
    /// [`super::BEHIND`] rows.
    pub fn gather(&mut self) {
        while (self.waiting.len() as u64) < super::BEHIND && !self.is_behind {
            let before = self.position.seq;
            self.look(STEP);
            if self.position.seq == before {
                return;
            }
        }
    }

    /// Resolves when the hub has something new, or the feed stops.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when there may be a next one: what has left the hub was read, or the hub has something new.
    pub async fn wait(&mut self) {
        if self.is_behind {
            match self.read().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "the feed is not read; once more soon");
                    tokio::time::sleep(REST).await;
                    return;
                }
            }
        }
        self.changed().await;
        self.has_waited = true;
    }

    /// Reads a page of what the hub has no more; false: there is nothing.
    async fn read(&mut self) -> Result<bool, StoreError> {
        let (after, up_to) = (self.position.seq, self.feed.head());
        if after >= up_to {
            return Ok(false);
        }
        // As long as it takes what is there it is not slow, however far it has to go.
        self.member.mark.store(self.feed.hub.next(), Ordering::Relaxed);
        let store = &self.feed.store;
        let camera = self.filter.only_camera().map(CameraId::new);
        let (page, floors) = {
            // An error would mean that the semaphore is closed, which it never is.
            let _turn = self.feed.readers.acquire().await;
            let camera = camera.as_ref().and_then(|camera| camera.as_ref().ok());
            let page = store.feed(&Scope::All, camera, self.filter.wants, (after, up_to), PAGE).await?;
            (page, self.feed.floors().await?)
        };
        let floor = self.filter.floor(floors);
        if floor > after && floor > self.told {
            self.waiting.push_back(Given::Gap { from_seq: after, first_seq: floor + 1 });
            self.told = floor;
        }
        for row in page.rows {
            let message = Arc::new(Message::new(row, None));
            if self.filter.takes(&self.scope, &message) {
                self.waiting.push_back(Given::Message(message));
            }
        }
        self.position = Position::after(page.reached.max(after));
        Ok(true)
    }
}
