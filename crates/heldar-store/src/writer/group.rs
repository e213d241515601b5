//! One group: begin, fence, apply, commit, answer.

use super::{Doubt, Member, SEQ_BLOCK, Writer, fenced, lost};
use crate::error::{ErrorKind, StoreError};
use crate::observe::{Changes, Work};
use crate::op::{Durability, OpError, Outcome, Tx};

/// What one attempt at a group came to.
enum Attempt {
    /// It is committed; a result for each member.
    Committed(Vec<Result<Outcome, StoreError>>),
    /// Nothing of it is stored, and trying again as it is would end the same way.
    RolledBack(StoreError),
    /// Nothing of it is stored; the database was locked for too long.
    Busy(StoreError),
    /// Nothing of it is stored; the connection is gone.
    Lost(StoreError),
    /// The COMMIT was sent and not answered.
    InDoubt(StoreError, Vec<Result<Outcome, StoreError>>),
    /// The store has another owner.
    Fenced,
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            ErrorKind::Busy => Attempt::Busy(error),
            ErrorKind::Unavailable => Attempt::Lost(error),
            _ => Attempt::RolledBack(error),
        }
    }
}

impl Writer {
    /// Runs a group to its end and answers its members, unless their commit is in doubt.
    pub(super) async fn write_group(&mut self, group: Vec<Member>) {
        let attempt = self.attempt(&group).await;
        match attempt {
            Attempt::RolledBack(error) if group.len() > 1 => {
                tracing::debug!(?error, members = group.len(), "a group failed; its members run one by one");
                self.write_singly(group).await;
            }
            attempt => self.settle(group, attempt),
        }
    }

    async fn write_singly(&mut self, group: Vec<Member>) {
        for member in group {
            if self.link.is_up() {
                let single = vec![member];
                let attempt = self.attempt(&single).await;
                self.settle(single, attempt);
            } else {
                let fenced_off = self.health.borrow().condition == super::Condition::Fenced;
                member.answer(Err(if fenced_off { fenced() } else { lost() }));
            }
        }
    }

    /// Answers the members of a group as its attempt came out.
    fn settle(&mut self, group: Vec<Member>, attempt: Attempt) {
        match attempt {
            Attempt::Committed(results) => {
                self.committed_no = self.group_no;
                self.tell_committed();
                for (member, result) in group.into_iter().zip(results) {
                    member.answer(result);
                }
            }
            Attempt::RolledBack(error) | Attempt::Busy(error) => answer_all(group, &error),
            Attempt::Lost(error) => {
                self.lose(&error);
                answer_all(group, &error);
            }
            Attempt::InDoubt(error, results) => {
                self.lose(&error);
                let members = group.into_iter().zip(results).collect();
                self.doubt = Some(Doubt { members, group_no: self.group_no });
            }
            Attempt::Fenced => {
                answer_all(group, &fenced());
                self.fence();
            }
        }
    }

    /// Runs a group up to its commit. Unless it is committed or in doubt, nothing of it is stored; unless it is
    /// committed, what is remembered of it is forgotten.
    async fn attempt(&mut self, group: &[Member]) -> Attempt {
        let attempt = self.try_group(group).await;
        if !matches!(attempt, Attempt::Committed(_)) {
            self.numbers.forget();
        }
        attempt
    }

    async fn try_group(&mut self, group: &[Member]) -> Attempt {
        let appended: usize = group.iter().map(|member| member.op.event_count()).sum();
        let last_seq = self.sequence.next.saturating_add(i64::try_from(appended).unwrap_or(i64::MAX));
        if last_seq > self.sequence.reserved {
            self.sequence.reserved = last_seq.saturating_add(SEQ_BLOCK);
        }
        let reserves = appended > 0 && last_seq > self.sequence.durable;
        let asked = group.iter().map(|member| member.op.durability()).max().unwrap_or(Durability::Relaxed);
        let durability = if reserves { Durability::Full } else { asked };
        self.group_no += 1;

        match self.link.begin(durability, self.group_no, self.sequence.reserved).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Fenced => return Attempt::Fenced,
            Err(error) => return self.undo(error.into()).await,
        }
        let (results, changes) = match self.apply(group).await {
            Ok(results) => results,
            Err(error) => return self.undo(error.into()).await,
        };
        match self.observed.time(Work::Commit, self.link.commit()).await {
            Ok(()) => {
                self.observed.committed(changes);
                if durability == Durability::Full {
                    self.sequence.durable = self.sequence.reserved;
                }
                Attempt::Committed(results)
            }
            Err(error) => Attempt::InDoubt(error, results),
        }
    }

    /// A result for each member, and what they changed.
    async fn apply(
        &mut self,
        group: &[Member],
    ) -> Result<(Vec<Result<Outcome, StoreError>>, Changes), StoreError> {
        let conn = self.link.conn()?;
        let mut tx = Tx::new(conn, &mut self.sequence.next, &mut self.numbers);
        let mut results = Vec::with_capacity(group.len());
        for member in group {
            tx.begin_op();
            match member.op.apply(&mut tx).await {
                Ok(outcome) => results.push(Ok(outcome)),
                Err(OpError::Refused(error)) if !tx.has_changed() => results.push(Err(error)),
                // Several writes that were to happen together, of which a later one refused itself.
                Err(OpError::Refused(error) | OpError::Failed(error)) => return Err(error),
            }
        }
        tx.store_totals().await?;
        let changes = Changes { rows: tx.changed_in_all(), audited: tx.audited() };
        Ok((results, changes))
    }

    /// Rolls back what an attempt left open.
    async fn undo(&mut self, attempt: Attempt) -> Attempt {
        if matches!(attempt, Attempt::Lost(_)) {
            return attempt;
        }
        match self.link.rollback().await {
            Ok(()) => attempt,
            Err(error) => Attempt::Lost(error),
        }
    }
}

fn answer_all(group: Vec<Member>, error: &StoreError) {
    for member in group {
        member.answer(Err(error.clone()));
    }
}
