//! All sessions, and which of them a datagram is for.
//!
//! Owns: the bounded table. Invariants: a session is found by the name it was given until it ends or is ended; an address
//! belongs to the session that proved last, by a password, that its viewer is there. Never: waits; a session whose mailbox
//! is full loses the datagram. When the table is full, the oldest session whose viewer was never heard from gives way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::socket::Route;
use super::stun;

/// Datagrams and requests that wait for a session at most.
const MAILBOX: usize = 64;
/// Addresses that one viewer may have at a time.
const MAX_REMOTES: usize = 8;

/// What a session is sent.
#[derive(Debug)]
pub(super) enum Mail {
    /// A datagram.
    Datagram {
        /// When it came.
        at: Instant,
        /// From where.
        route: Route,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Candidates of the viewer, as in `a=candidate`.
    Candidates(Vec<String>),
}

/// What is known of a session from outside.
#[derive(Debug)]
struct Entry {
    number: u64,
    etag: String,
    /// Its ICE user name.
    ufrag: String,
    /// The viewer's ICE user name.
    viewer: String,
    /// Whether the viewer has proved to be there.
    is_heard: bool,
    mailbox: mpsc::Sender<Mail>,
    /// Ends the session when dropped.
    _life: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    resources: HashMap<String, Entry>,
    ufrags: HashMap<String, mpsc::Sender<Mail>>,
    remotes: HashMap<SocketAddr, (u64, mpsc::Sender<Mail>)>,
    next_number: u64,
}

/// The table; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    inner: Arc<Mutex<Inner>>,
    most: usize,
}

/// The names of a session.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Names it to its viewer.
    pub(super) resource: String,
    /// Version of its description.
    pub(super) etag: String,
    /// Its ICE user name.
    pub(super) ufrag: String,
    /// Its viewer's.
    pub(super) viewer: String,
}

/// A session found by its name.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) etag: String,
    pub(super) viewer: String,
    pub(super) mailbox: mpsc::Sender<Mail>,
}

impl Table {
    /// Of so many sessions at most.
    pub(super) fn new(most: usize) -> Self {
        Table { inner: Arc::default(), most }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session in; `None` if there are too many whose viewers are there.
    pub(super) fn open(&self, names: Names) -> Option<Ticket> {
        let (mailbox, mail) = mpsc::channel(MAILBOX);
        let (life, is_over) = oneshot::channel();
        let mut inner = self.inner();
        if inner.ufrags.len() >= self.most && !inner.make_room() {
            return None;
        }
        let number = inner.next_number;
        inner.next_number += 1;
        inner.ufrags.insert(names.ufrag.clone(), mailbox.clone());
        let entry = Entry {
            number,
            etag: names.etag,
            ufrag: names.ufrag.clone(),
            viewer: names.viewer,
            is_heard: false,
            mailbox: mailbox.clone(),
            _life: life,
        };
        inner.resources.insert(names.resource.clone(), entry);
        drop(inner);
        let (table, resource, ufrag) = (self.clone(), names.resource, names.ufrag);
        Some(Ticket {
            place: Place { table, resource, ufrag, number, mailbox, remotes: Vec::new() },
            mail,
            is_over,
        })
    }

    /// Finds a session by its name.
    pub(super) fn find(&self, resource: &str) -> Option<Found> {
        let inner = self.inner();
        let entry = inner.resources.get(resource)?;
        Some(Found { etag: entry.etag.clone(), viewer: entry.viewer.clone(), mailbox: entry.mailbox.clone() })
    }

    /// Ends a session: its name is unknown from now on.
    pub(super) fn end(&self, resource: &str) -> bool {
        self.inner().resources.remove(resource).is_some()
    }

    /// Ends all.
    pub(super) fn end_all(&self) {
        self.inner().resources.clear();
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.inner().ufrags.len()
    }

    /// Hands a datagram to the session it is for.
    pub(super) fn deliver(&self, at: Instant, route: Route, datagram: &[u8]) {
        let inner = self.inner();
        // A request names its session even when its address belonged to an older one.
        let named = stun::addressee(datagram).and_then(|ufrag| inner.ufrags.get(ufrag));
        let mailbox = named.or_else(|| inner.remotes.get(&route.remote).map(|(_, mailbox)| mailbox)).cloned();
        drop(inner);
        if let Some(mailbox) = mailbox {
            // reason: one that cannot keep up with its own viewer loses datagrams, as on the network.
            let _ = mailbox.try_send(Mail::Datagram { at, route, bytes: Bytes::copy_from_slice(datagram) });
        }
    }
}

/// A session's place in the table, what it is sent, and the end of its life.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Its place, which is given up when dropped.
    pub(super) place: Place,
    /// What it is sent.
    pub(super) mail: mpsc::Receiver<Mail>,
    /// Resolves when it has been ended.
    pub(super) is_over: oneshot::Receiver<()>,
}

/// A session's place in the table.
#[derive(Debug)]
pub(super) struct Place {
    table: Table,
    resource: String,
    ufrag: String,
    number: u64,
    mailbox: mpsc::Sender<Mail>,
    remotes: Vec<SocketAddr>,
}

impl Place {
    /// The ICE user name of its session.
    pub(super) fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// Whether an address is known as the viewer's.
    pub(super) fn knows(&self, remote: SocketAddr) -> bool {
        self.remotes.contains(&remote)
    }

    /// Whether the viewer has ever proved to be there.
    pub(super) fn is_heard(&self) -> bool {
        !self.remotes.is_empty()
    }

    /// The viewer has proved to be at an address, be it known or another session's meanwhile.
    pub(super) fn learn(&mut self, remote: SocketAddr) {
        let mut inner = self.table.inner();
        if let Some(entry) =
            inner.resources.get_mut(&self.resource).filter(|entry| entry.number == self.number)
        {
            entry.is_heard = true;
        }
        self.remotes.retain(|known| *known != remote);
        if self.remotes.len() == MAX_REMOTES {
            let oldest = self.remotes.remove(0);
            inner.forget(oldest, self.number);
        }
        self.remotes.push(remote);
        inner.remotes.insert(remote, (self.number, self.mailbox.clone()));
    }

    /// Its name is unknown from now on, while it takes leave.
    pub(super) fn hide(&self) {
        let mut inner = self.table.inner();
        if inner.resources.get(&self.resource).is_some_and(|entry| entry.number == self.number) {
            inner.resources.remove(&self.resource);
        }
    }
}

impl Inner {
    /// Ends the oldest session whose viewer was never heard from; tells whether there was one.
    fn make_room(&mut self) -> bool {
        let silent = self.resources.iter().filter(|(_, entry)| !entry.is_heard);
        let oldest = silent.min_by_key(|(_, entry)| entry.number).map(|(resource, _)| resource.clone());
        let Some(entry) = oldest.and_then(|resource| self.resources.remove(&resource)) else { return false };
        // It counts no more, though its task takes a moment to end.
        self.ufrags.remove(&entry.ufrag);
        true
    }

    fn forget(&mut self, remote: SocketAddr, number: u64) {
        if self.remotes.get(&remote).is_some_and(|(owner, _)| *owner == number) {
            self.remotes.remove(&remote);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hide();
        let mut inner = self.table.inner();
        inner.ufrags.remove(&self.ufrag);
        for remote in &self.remotes {
            inner.forget(*remote, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Names {
        let text = |kind: &str| format!("{kind}{name}");
        Names { resource: text("r"), etag: text("e"), ufrag: text("u"), viewer: text("v") }
    }

    fn request(ufrag: &str) -> Vec<u8> {
        let name = format!("{ufrag}:xx");
        let mut out = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        out.resize(20, 0);
        out.extend([0, 6, 0, name.len() as u8]);
        out.extend(name.bytes());
        out
    }

    fn from(port: u16) -> Route {
        Route { remote: SocketAddr::from(([127, 0, 0, 1], port)), local: None }
    }

    fn is_mail(ticket: &mut Ticket) -> bool {
        ticket.mail.try_recv().is_ok()
    }

    #[test]
    fn datagrams_find_their_session() {
        let table = Table::new(2);
        let (mut a, mut b) = (table.open(names("a")).unwrap(), table.open(names("b")).unwrap());
        let now = Instant::now();
        table.deliver(now, from(1), &request("ub"));
        table.deliver(now, from(1), &[22; 40]);
        assert!(!is_mail(&mut a) && is_mail(&mut b) && !is_mail(&mut b));
        b.place.learn(from(1).remote);
        table.deliver(now, from(1), &[22; 40]);
        assert!(!is_mail(&mut a) && is_mail(&mut b));
        // The same address, now of another session's viewer.
        table.deliver(now, from(1), &request("ua"));
        assert!(is_mail(&mut a) && !is_mail(&mut b));
        a.place.learn(from(1).remote);
        drop(b);
        table.deliver(now, from(1), &[22; 40]);
        assert!(is_mail(&mut a));
        drop(a);
        table.deliver(now, from(1), &[22; 40]);
        assert_eq!((table.len(), table.inner().remotes.len()), (0, 0));
    }

    #[test]
    fn the_oldest_that_was_never_heard_from_gives_way() {
        let table = Table::new(2);
        let (mut a, mut b) = (table.open(names("a")).unwrap(), table.open(names("b")).unwrap());
        a.place.learn(from(1).remote);
        let mut c = table.open(names("c")).unwrap();
        assert!(table.find("ra").is_some() && table.find("rb").is_none() && b.is_over.try_recv().is_err());
        table.deliver(Instant::now(), from(2), &request("ub"));
        assert!(!is_mail(&mut b));
        c.place.learn(from(3).remote);
        assert!(table.open(names("d")).is_none());
        // What is left of one that gave way takes nothing with it.
        drop(b);
        assert_eq!(table.len(), 2);
        drop(c);
        assert!(table.open(names("d")).is_some());
    }

    #[test]
    fn who_proves_it_again_has_its_address_back() {
        let table = Table::new(2);
        let (mut a, mut b) = (table.open(names("a")).unwrap(), table.open(names("b")).unwrap());
        for place in [&mut a.place, &mut b.place] {
            place.learn(from(1).remote);
        }
        a.place.learn(from(1).remote);
        table.deliver(Instant::now(), from(1), &[22; 40]);
        assert!(is_mail(&mut a) && !is_mail(&mut b));
        drop(b);
        table.deliver(Instant::now(), from(1), &[22; 40]);
        assert!(is_mail(&mut a));
        assert_eq!((a.place.remotes.len(), table.inner().remotes.len()), (1, 1));
    }

    #[test]
    fn addresses_of_a_session_are_bounded() {
        let table = Table::new(1);
        let mut ticket = table.open(names("a")).unwrap();
        (0..100).for_each(|port| ticket.place.learn(from(port).remote));
        assert_eq!(table.inner().remotes.len(), MAX_REMOTES);
        (0..1000).for_each(|_| table.deliver(Instant::now(), from(99), &[22; 40]));
        assert_eq!(ticket.mail.len(), MAILBOX);
    }

    #[tokio::test]
    async fn an_ended_session_is_unknown_at_once() {
        let table = Table::new(1);
        let Ticket { place, is_over, .. } = table.open(names("a")).unwrap();
        assert_eq!(table.find("ra").unwrap().etag, "ea");
        assert!(table.end("ra") && !table.end("ra") && table.find("ra").is_none());
        assert!(is_over.await.is_err());
        assert_eq!(table.len(), 1);
        drop(place);
        assert_eq!(table.len(), 0);
    }
}
