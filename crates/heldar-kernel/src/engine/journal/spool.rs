//! The spool file: where entries wait while the store is away.
//!
//! Owns: the file's form, its bound, and which entries go when it is full. Never: the store.
//!
//! The file is a header (magic, a random id) and records, appended and never changed:
//! `length u32 | crc u32 | number u64 | time i64 | rank u8 | entry (JSON)`, little endian; the length is that of the entry, the
//! checksum (CRC-32) covers all that follows it. Numbers rise by one from record to record as they are appended.
//!
//! Invariants
//! 1. What [`Spool::append`] has taken is there after any end of the process, and after a power cut.
//! 2. A tail that was torn by a crash is cut off when the file is opened; nothing before it is lost.
//! 3. The file never grows past its bound. Entries that go for it are those of the lowest rank, oldest first, and one record
//!    tells how many they were and of which time.
//! 4. A record leaves the file only by [`Spool::advance`] over it, or as invariant 3 says.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use heldar_base::WallTime;

use super::entry::{Entry, Loss, Rank};
use super::random_bits;

const MAGIC: &[u8; 8] = b"HLDSPOL1";
/// Magic and id.
const HEADER: u64 = 24;
/// Bytes of a record before its entry.
const PREFIX: usize = 4 + 4 + 8 + 8 + 1;
/// The longest entry. Real ones have a few hundred bytes.
const LONGEST: usize = 1 << 20;
/// Share of the bound that is made free at once, so that a full file is not rewritten for each entry.
const FREED: u64 = 8;

/// The spool.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    bound: u64,
    id: u128,
    /// Absent while nothing waits.
    file: Option<File>,
    /// Number of the next record.
    next: u64,
    /// Offset of the first record that waits.
    begin: u64,
    /// End of the last record.
    end: u64,
    /// Records that wait.
    waiting: u64,
    /// Records up to this number were handed out and must stay.
    handed_out: u64,
    /// Audit rows that went for want of room, since this was asked last.
    lost_audit: u64,
}

/// Records from the front.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    /// Of the file.
    id: u128,
    /// Number and entry of each; `None` for an entry that this version cannot read.
    pub(super) records: Vec<(u64, Option<Entry>)>,
}

impl Batch {
    /// Number of the last.
    pub(super) fn through(&self) -> u64 {
        self.records.last().map_or(0, |(number, _)| *number)
    }

    /// What to note in the store with the commit of all records up to `through`.
    pub(super) fn mark(&self, through: u64) -> String {
        mark(self.id, through)
    }
}

/// A record as it stands in the file.
#[derive(Clone, Debug)]
struct Record {
    offset: u64,
    number: u64,
    at: i64,
    rank: Rank,
    /// The entry.
    body: Vec<u8>,
}

impl Record {
    fn len(&self) -> u64 {
        (PREFIX + self.body.len()) as u64
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PREFIX + self.body.len());
        bytes.extend_from_slice(&u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.at.to_le_bytes());
        bytes.push(self.rank as u8);
        bytes.extend_from_slice(&self.body);
        let crc = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the next record; `None` at the end and at anything that is none.
    fn read(reader: &mut impl io::Read, offset: u64) -> io::Result<Option<Record>> {
        let mut prefix = [0; PREFIX];
        if !read_whole(reader, &mut prefix)? {
            return Ok(None);
        }
        let mut fields = prefix.as_slice();
        let length = u32::from_le_bytes(take(&mut fields)) as usize;
        let crc = u32::from_le_bytes(take(&mut fields));
        let number = u64::from_le_bytes(take(&mut fields));
        let at = i64::from_le_bytes(take(&mut fields));
        let Some(rank) = Rank::from_byte(u8::from_le_bytes(take(&mut fields))) else { return Ok(None) };
        if length > LONGEST {
            return Ok(None);
        }
        let mut body = vec![0; length];
        if !read_whole(reader, &mut body)? {
            return Ok(None);
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&prefix[8..]);
        hasher.update(&body);
        Ok((hasher.finalize() == crc).then_some(Record { offset, number, at, rank, body }))
    }
}

/// The next bytes of a slice that is long enough.
fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some((head, rest)) = from.split_at_checked(N) {
        bytes.copy_from_slice(head);
        *from = rest;
    }
    bytes
}

/// Fills the buffer; false when the file ends before.
fn read_whole(reader: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

impl Spool {
    /// Takes up the file at `path`, or none.
    ///
    /// # Errors
    /// It is there and cannot be read or cut.
    pub(super) fn open(path: &Path, bound: u64) -> io::Result<Spool> {
        let mut spool = Spool {
            path: path.to_owned(),
            bound,
            id: random_bits(),
            file: None,
            next: 1,
            begin: HEADER,
            end: HEADER,
            waiting: 0,
            handed_out: 0,
            lost_audit: 0,
        };
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(spool),
            Err(error) => return Err(error),
        };
        let mut header = [0; HEADER as usize];
        if !read_whole(&mut &file, &mut header)? || !header.starts_with(MAGIC) {
            // It was torn while it was made, or is not ours.
            set_aside(path)?;
            return Ok(spool);
        }
        spool.id = u128::from_le_bytes(take(&mut &header[MAGIC.len()..]));
        spool.file = Some(file);
        let (mut next, mut end, mut waiting) = (1, HEADER, 0);
        spool.each(|record| {
            (next, end) = (record.number + 1, record.offset + record.len());
            waiting += 1;
            Ok(Walk::On)
        })?;
        (spool.next, spool.end, spool.waiting) = (next, end, waiting);
        spool.cut_tail()?;
        if spool.waiting == 0 {
            spool.clear()?;
        }
        Ok(spool)
    }

    /// Cuts off what follows the last whole record.
    fn cut_tail(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let torn = file.metadata()?.len().saturating_sub(self.end);
        if torn > 0 {
            tracing::warn!(bytes = torn, "the event spool had a torn tail");
            file.set_len(self.end)?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// Records that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Audit rows that went for want of room since this was asked last.
    pub(super) fn take_lost_audit(&mut self) -> u64 {
        std::mem::take(&mut self.lost_audit)
    }

    /// Passes over the records that a mark says are stored.
    ///
    /// # Errors
    /// As [`Spool::advance`].
    pub(super) fn skip(&mut self, mark: &str) -> io::Result<()> {
        let through = mark
            .split_once(':')
            .filter(|(id, _)| u128::from_str_radix(id, 16).is_ok_and(|id| id == self.id))
            .and_then(|(_, through)| through.parse().ok());
        through.map_or(Ok(()), |through| self.advance(through))
    }

    /// Appends entries, and syncs them.
    ///
    /// # Errors
    /// The disk fails or is full: none of the entries is taken.
    pub(super) fn append(&mut self, entries: &[Entry], now: WallTime) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut number = self.next;
        for entry in entries {
            let body = entry.to_bytes();
            if body.is_empty() || body.len() > LONGEST {
                tracing::error!(bytes = body.len(), "an entry is too long for the event spool");
                self.lost_audit += u64::from(matches!(entry, Entry::Audit(_)));
                continue;
            }
            let at = entry.at().unwrap_or(now).0;
            bytes.extend(Record { offset: 0, number, at, rank: entry.rank(), body }.bytes());
            number += 1;
        }
        if self.end.saturating_add(bytes.len() as u64) > self.bound {
            self.compact(bytes.len() as u64)?;
            if self.end.saturating_add(bytes.len() as u64) > self.bound {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let file = match &self.file {
            Some(file) => file,
            None => &*self.file.insert(create(&self.path, self.id)?),
        };
        file.write_all_at(&bytes, self.end)?;
        file.sync_data()?;
        self.end += bytes.len() as u64;
        self.waiting += number - self.next;
        self.next = number;
        Ok(())
    }

    /// Up to `most` records from the front, and no more than about a mebibyte of them; `None` when nothing waits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn head(&mut self, most: usize) -> io::Result<Option<Batch>> {
        let mut batch = Batch { id: self.id, records: Vec::new() };
        let mut room = LONGEST;
        self.each(|record| {
            room = room.saturating_sub(record.body.len());
            batch.records.push((record.number, Entry::from_bytes(&record.body)));
            Ok(if batch.records.len() < most && room > 0 { Walk::On } else { Walk::Stop })
        })?;
        if batch.records.is_empty() {
            return Ok(None);
        }
        self.handed_out = batch.through();
        Ok(Some(batch))
    }

    /// What was handed out was not stored, and may go for want of room like everything else.
    pub(super) fn take_back(&mut self) {
        self.handed_out = 0;
    }

    /// Everything up to `through` is stored: it need not wait any longer.
    ///
    /// # Errors
    /// The file cannot be read, or not removed when nothing waits in it.
    pub(super) fn advance(&mut self, through: u64) -> io::Result<()> {
        let mut begin = self.begin;
        let mut passed = 0;
        self.each(|record| {
            if record.number > through {
                return Ok(Walk::Stop);
            }
            begin = record.offset + record.len();
            passed += 1;
            Ok(Walk::On)
        })?;
        self.begin = begin;
        self.waiting = self.waiting.saturating_sub(passed);
        if self.waiting == 0 { self.clear() } else { Ok(()) }
    }

    /// Moves a file that cannot be read out of the way, so that later entries are not held up.
    pub(super) fn give_up(&mut self) {
        if let Err(error) = set_aside(&self.path) {
            tracing::error!(%error, "the event spool cannot be moved away");
        }
        self.forget();
    }

    fn clear(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            fs::remove_file(&self.path)?;
        }
        self.forget();
        Ok(())
    }

    /// A new file has a new id, so that a mark of the old one says nothing about it.
    fn forget(&mut self) {
        self.file = None;
        self.id = random_bits();
        (self.next, self.begin, self.end) = (1, HEADER, HEADER);
        (self.waiting, self.handed_out) = (0, 0);
    }

    /// Visits the records that wait, in order.
    fn each(&self, mut visit: impl FnMut(Record) -> io::Result<Walk>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut reader = BufReader::with_capacity(1 << 16, file);
        reader.seek(SeekFrom::Start(self.begin))?;
        let mut offset = self.begin;
        while let Some(record) = Record::read(&mut reader, offset)? {
            offset += record.len();
            if visit(record)? == Walk::Stop {
                break;
            }
        }
        Ok(())
    }

    /// Writes the file anew without what is stored and, for want of room for `more` bytes, without what may go.
    fn compact(&mut self, more: u64) -> io::Result<()> {
        let (doomed, loss) = self.select(more)?;
        let draft = self.path.with_extension("spool.new");
        let _left_over = fs::remove_file(&draft);
        let mut out = BufWriter::new(create(&draft, self.id)?);
        let (mut end, mut waiting, mut lost_audit) = (HEADER, 0, 0);
        let mut doomed = doomed.into_iter().peekable();
        self.each(|mut record| {
            let is_audit = |record: &Record| {
                record.rank == Rank::Ledger
                    && matches!(Entry::from_bytes(&record.body), Some(Entry::Audit(_)))
            };
            if loss.as_ref().is_some_and(|(number, _)| *number == record.number) {
                lost_audit += u64::from(is_audit(&record));
                if let Some((_, loss)) = &loss {
                    record.rank = Rank::Lost;
                    record.at = loss.to.0;
                    record.body = Entry::Lost(loss.clone()).to_bytes();
                }
                doomed.next_if_eq(&record.number);
            } else if doomed.next_if_eq(&record.number).is_some() {
                lost_audit += u64::from(is_audit(&record));
                return Ok(Walk::On);
            }
            end += record.len();
            waiting += 1;
            out.write_all(&record.bytes())?;
            Ok(Walk::On)
        })?;
        let file = out.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        sync_folder(&self.path)?;
        self.file = Some(file);
        (self.begin, self.end, self.waiting) = (HEADER, end, waiting);
        self.lost_audit += lost_audit;
        Ok(())
    }

    /// Which records go, by number, and the report of the loss with the number of the record whose place it takes.
    #[allow(clippy::type_complexity, reason = "two answers of one look at the file")]
    fn select(&self, more: u64) -> io::Result<(Vec<u64>, Option<(u64, Loss)>)> {
        let live = HEADER + (self.end - self.begin);
        let mut surplus = (live + more).saturating_sub(self.bound - self.bound / FREED);
        if live + more <= self.bound {
            surplus = 0;
        }
        let mut held = [0u64; Rank::EXPENDABLE.len()];
        self.each(|record| {
            if let Some(held) = held.get_mut(record.rank as usize).filter(|_| record.number > self.handed_out)
            {
                *held += record.len();
            }
            Ok(Walk::On)
        })?;
        let mut budget = held.map(|held| {
            let share = held.min(surplus);
            surplus -= share;
            share
        });
        let (mut doomed, mut place, mut loss) = (Vec::new(), None, None::<Loss>);
        self.each(|record| {
            if record.number <= self.handed_out {
                return Ok(Walk::On);
            }
            if record.rank == Rank::Lost {
                // The report of an earlier loss takes this one in.
                if let Some(Entry::Lost(mut earlier)) = Entry::from_bytes(&record.body) {
                    if let Some(later) = &loss {
                        earlier.merge(later.dropped, later.from, later.to);
                        doomed.extend(place);
                    }
                    (place, loss) = (Some(record.number), Some(earlier));
                }
                return Ok(Walk::On);
            }
            let Some(budget) = budget.get_mut(record.rank as usize).filter(|budget| **budget > 0) else {
                return Ok(Walk::On);
            };
            *budget = budget.saturating_sub(record.len());
            Loss::add(&mut loss, WallTime(record.at));
            if place.is_none() {
                place = Some(record.number);
            } else {
                doomed.push(record.number);
            }
            Ok(Walk::On)
        })?;
        doomed.sort_unstable();
        Ok((doomed, place.zip(loss)))
    }
}

fn mark(id: u128, through: u64) -> String {
    format!("{id:032x}:{through}")
}

/// Whether to look at the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    On,
    Stop,
}

/// A new file with its header; its name is on disk when this returns.
fn create(path: &Path, id: u128) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&id.to_le_bytes());
    (&file).write_all(&header)?;
    sync_folder(path)?;
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn set_aside(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("spool.unreadable");
    tracing::error!(file = ?aside.file_name(), "the event spool cannot be read and is set aside");
    fs::rename(path, aside)
}

#[cfg(test)]
mod tests;
