//! Which picture was sent when.

use std::collections::VecDeque;

use heldar_base::WallTime;

/// One picture that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its number in the clip.
    pub(crate) number: u32,
    /// How often the clip had been finished before.
    pub(crate) loops: u32,
    /// It is of the pictures that a change of parameters brought.
    pub(crate) alternate: bool,
    /// When it was handed to the viewers.
    pub(crate) at: WallTime,
}

/// The newest pictures of a stream, oldest first.
#[derive(Debug)]
pub(crate) struct SentLog {
    pictures: VecDeque<Sent>,
    capacity: usize,
}

impl SentLog {
    /// A log that remembers so many pictures.
    pub(crate) fn new(capacity: usize) -> Self {
        SentLog { pictures: VecDeque::new(), capacity }
    }

    pub(crate) fn add(&mut self, sent: Sent) {
        if self.pictures.len() >= self.capacity {
            self.pictures.pop_front();
        }
        self.pictures.push_back(sent);
    }

    /// Pictures sent within `[from, to)`, in sending order.
    pub(crate) fn between(&self, from: WallTime, to: WallTime) -> impl Iterator<Item = Sent> {
        self.pictures.iter().copied().filter(move |sent| from <= sent.at && sent.at < to)
    }

    /// When a picture number was sent, the newest first; every picture without number.
    pub(crate) fn newest_first(&self, number: Option<u32>) -> impl Iterator<Item = Sent> {
        let wanted = move |sent: &Sent| number.is_none_or(|number| sent.number == number);
        self.pictures.iter().rev().copied().filter(wanted)
    }
}
