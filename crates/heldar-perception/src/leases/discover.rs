//! Asking for one's share without a lease (perception.md 4.1).

use heldar_base::WallTime;

use super::acquire::loads;
use super::{Caller, Holder, LIVE_FOR, LeaseBook, LeaseChange, TooManyWorkers, Transport, WorkerRow};
use crate::sharing::{Candidate, share};
use crate::task::Task;

/// The answer to a worker that asks for its share.
#[derive(Clone, Debug)]
pub struct Discovered<'t> {
    /// Its share, by id.
    pub tasks: Vec<&'t Task>,
    /// Another credential's live worker has the name. Whether that is a conflict is the caller's to know; if it is,
    /// nothing is written.
    pub namesake: Option<Holder>,
    /// Rows to write.
    pub changes: Vec<LeaseChange>,
}

impl LeaseBook {
    /// Plans a discovery call of a named worker at `now`. `tasks` are the enabled tasks on enabled cameras.
    ///
    /// A worker that holds a live place among the leasing ones keeps it, and is answered as if it were one of these.
    ///
    /// # Errors
    /// [`TooManyWorkers`].
    pub fn discover<'t>(
        &self,
        now: WallTime,
        caller: &Caller<'_>,
        worker_id: &str,
        tasks: &[&'t Task],
    ) -> Result<Discovered<'t>, TooManyWorkers> {
        let holder = Holder::new(caller.credential, worker_id);
        let mut seen: Vec<&'t Task> =
            tasks.iter().copied().filter(|task| caller.scope.covers(&task.camera)).collect();
        seen.sort_by_key(|task| task.id);
        let asking = self.workers.values().filter(|row| {
            let same = row.holder.credential == holder.credential && row.holder != holder;
            same && row.transport == Transport::Discovery && row.is_live(now)
        });
        let names = asking.map(|row| &row.holder).chain([&holder]);
        let candidates: Vec<Candidate<'_>> = names
            .map(|holder| Candidate {
                credential: &holder.credential,
                worker: &holder.worker,
                types: None,
                scope: caller.scope,
                capacity: 1.0,
                max_tasks: usize::MAX,
            })
            .collect();
        let last = candidates.len() - 1;
        let given = share(&loads(&seen), &candidates);
        let is_free = |task: &Task| self.holder(task.id, now).is_none_or(|lease| lease.holder == holder);
        let mine = seen.into_iter().zip(given).filter(|(_, given)| *given == Some(last));
        let tasks = mine.map(|(task, _)| task).filter(|task| is_free(task)).collect();
        let mut changes = vec![LeaseChange::PutWorker(self.asking_row(&holder, now))];
        self.sweep(now, &holder, &mut changes)?;
        Ok(Discovered { tasks, namesake: self.namesake(&holder, now).cloned(), changes })
    }

    fn asking_row(&self, holder: &Holder, now: WallTime) -> WorkerRow {
        let leasing =
            self.workers.get(holder).filter(|row| row.transport == Transport::Lease && row.is_live(now));
        match leasing {
            Some(row) => WorkerRow { last_seen: now, ..row.clone() },
            None => WorkerRow {
                holder: holder.clone(),
                last_seen: now,
                live_until: now + LIVE_FOR,
                transport: Transport::Discovery,
                task_types: None,
                capacity: 1.0,
                max_tasks: 512,
                lease: None,
            },
        }
    }
}
