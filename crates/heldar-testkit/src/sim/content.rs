//! What one file holds: as programs see it, and as the medium has it.
//!
//! Everything since the last good sync is a list of operations. A power cut keeps a part of them, page by page; a killed
//! process takes nothing away.

use super::dice::Dice;

/// Granularity in which a disk takes what a file holds.
pub const PAGE: u64 = 4096;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    None,
    /// All of it.
    All,
    /// What was done first, the last write of it torn between two pages.
    Prefix,
    /// Each page, each length and each name on its own.
    Each,
}

impl Survival {
    /// Any of them.
    pub fn roll(dice: &mut Dice) -> Self {
        match dice.below(5) {
            0 => Survival::None,
            1 => Survival::All,
            2 => Survival::Prefix,
            _ => Survival::Each,
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

/// Contents of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    ops: Vec<Change>,
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let (from, end) = (index(*offset), index(*offset) + bytes.len());
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[from..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => to.resize(index(*len), 0),
        }
    }

    /// The first `pages` pages of a write.
    fn torn(&self, pages: u64) -> Option<Change> {
        let Change::Write { offset, bytes } = self else { return None };
        let end = (offset / PAGE + pages) * PAGE;
        let keep = index(end.saturating_sub(*offset)).min(bytes.len());
        (keep > 0).then(|| Change::Write { offset: *offset, bytes: bytes[..keep].to_vec() })
    }

    fn pages(&self) -> u64 {
        match self {
            Change::Write { offset, bytes } if !bytes.is_empty() => {
                (offset + bytes.len() as u64 - 1) / PAGE - offset / PAGE + 1
            }
            _ => 0,
        }
    }

    /// True when it changes a page of a file.
    fn touches(&self, page: u64) -> bool {
        match self {
            Change::Write { offset, bytes } => {
                *offset < (page + 1) * PAGE && offset + bytes.len() as u64 > page * PAGE
            }
            Change::SetLen(len) => *len < (page + 1) * PAGE,
        }
    }
}

impl Content {
    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn write(&mut self, offset: u64, bytes: Vec<u8>) {
        self.push(Change::Write { offset, bytes });
    }

    /// A write that was cut off between two pages.
    pub(super) fn write_torn(&mut self, offset: u64, bytes: Vec<u8>, dice: &mut Dice) {
        let change = Change::Write { offset, bytes };
        if let Some(part) = change.torn(dice.below(change.pages() + 1)) {
            self.push(part);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.push(Change::SetLen(len));
    }

    fn push(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.ops.push(change);
    }

    /// Operations that a power cut may undo.
    pub(super) fn unsynced(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.ops) {
            change.apply(&mut self.durable);
        }
    }

    /// The power is gone, and back.
    pub(super) fn power_cut(&mut self, how: Survival, dice: &mut Dice) {
        let ops = std::mem::take(&mut self.ops);
        match how {
            Survival::None => {}
            Survival::All => ops.iter().for_each(|op| op.apply(&mut self.durable)),
            Survival::Prefix => {
                let count = index(dice.below(ops.len() as u64 + 1));
                ops[..count].iter().for_each(|op| op.apply(&mut self.durable));
                let torn = ops.get(count).and_then(|op| op.torn(dice.below(op.pages() + 1)));
                if let Some(part) = torn {
                    part.apply(&mut self.durable);
                }
            }
            Survival::Each => self.durable = self.each_page(&ops, dice),
        }
        self.now = self.durable.clone();
    }

    /// Every page is as old as it likes, and so is the length.
    fn each_page(&self, ops: &[Change], dice: &mut Dice) -> Vec<u8> {
        let mut age = |of: usize| match dice.below(4) {
            0 => index(dice.below(of as u64 + 1)),
            _ => of,
        };
        let mut sized = self.durable.clone();
        for op in &ops[..age(ops.len())] {
            op.apply(&mut sized);
        }
        let mut out = vec![0; sized.len()];
        for (number, page) in out.chunks_mut(index(PAGE)).enumerate() {
            let number = number as u64;
            let touching: Vec<&Change> = ops.iter().filter(|op| op.touches(number)).collect();
            let start = index(number * PAGE);
            if touching.is_empty() {
                page.copy_from_slice(&sized[start..start + page.len()]);
                continue;
            }
            let mut version = self.durable.clone();
            for op in &touching[..age(touching.len())] {
                op.apply(&mut version);
            }
            let start = start.min(version.len());
            let found = &version[start..(start + page.len()).min(version.len())];
            page[..found.len()].copy_from_slice(found);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(byte: u8, len: u64) -> Vec<u8> {
        vec![byte; index(len)]
    }

    #[test]
    fn what_is_synced_stays_and_the_rest_may_go() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let mut content = Content::default();
            content.write(0, filled(1, PAGE + 100));
            content.sync();
            content.write(PAGE + 100, filled(2, 3 * PAGE));
            let how = Survival::roll(&mut dice);
            content.power_cut(how, &mut dice);
            let left = content.now();
            assert!(left.len() as u64 >= PAGE + 100, "{how:?}");
            assert!(left[..index(PAGE + 100)].iter().all(|byte| *byte == 1), "{how:?}");
            match how {
                Survival::None => assert_eq!(left.len() as u64, PAGE + 100),
                Survival::All => assert!(left[index(PAGE + 100)..].iter().all(|byte| *byte == 2)),
                Survival::Prefix => {
                    assert!(left[index(PAGE + 100)..].iter().all(|byte| *byte == 2));
                    let whole = left.len() as u64 == 4 * PAGE + 100 || left.len() as u64 == PAGE + 100;
                    assert!(whole || (left.len() as u64).is_multiple_of(PAGE));
                }
                Survival::Each => assert!(left.len() as u64 <= 4 * PAGE + 100),
            }
        }
    }
}
