//! Names in folders: as programs see them, and as the medium has them.
//!
//! A name is made durable by syncing its folder. A power cut keeps a part of the changes since; a rename is kept or
//! undone as a whole.

use std::collections::BTreeMap;

use super::content::Survival;
use super::dice::Dice;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Link { path: String, node: Node },
    Unlink { path: String },
    Rename { from: String, to: String, node: Node },
}

impl Change {
    fn is_in(&self, folder: &str) -> bool {
        match self {
            Change::Link { path, .. } | Change::Unlink { path } => parent(path) == folder,
            Change::Rename { from, to, .. } => parent(from) == folder || parent(to) == folder,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Change::Link { path, node } => {
                names.insert(path.clone(), *node);
            }
            Change::Unlink { path } => {
                names.remove(path);
            }
            Change::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// The folder that a path is in; empty for the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// All names below the root.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    changes: Vec<Change>,
}

impl Tree {
    pub(super) fn get(&self, path: &str) -> Option<Node> {
        if path.is_empty() { Some(Node::Folder) } else { self.now.get(path).copied() }
    }

    /// Names and what they stand for, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Node)> {
        self.now.iter().map(|(path, node)| (path.as_str(), *node))
    }

    /// Names in one folder.
    pub(super) fn in_folder<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, Node)> {
        self.iter().filter(move |(path, _)| parent(path) == folder)
    }

    fn push(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.changes.push(change);
    }

    /// Makes the folders above a path.
    pub(super) fn make_folders(&mut self, path: &str) {
        let folder = parent(path);
        if folder.is_empty() || self.get(folder) == Some(Node::Folder) {
            return;
        }
        self.make_folders(folder);
        self.push(Change::Link { path: folder.to_owned(), node: Node::Folder });
    }

    pub(super) fn link(&mut self, path: &str, node: Node) {
        self.push(Change::Link { path: path.to_owned(), node });
    }

    pub(super) fn unlink(&mut self, path: &str) {
        self.push(Change::Unlink { path: path.to_owned() });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, node: Node) {
        self.push(Change::Rename { from: from.to_owned(), to: to.to_owned(), node });
    }

    /// Changes that a power cut may undo.
    pub(super) fn unsynced(&self) -> usize {
        self.changes.len()
    }

    /// Makes the names in one folder durable.
    pub(super) fn sync(&mut self, folder: &str) {
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            if change.is_in(folder) {
                change.apply(&mut self.durable);
            } else {
                self.changes.push(change);
            }
        }
    }

    /// The power is gone, and back.
    pub(super) fn power_cut(&mut self, how: Survival, dice: &mut Dice) {
        let changes = std::mem::take(&mut self.changes);
        let first = usize::try_from(dice.below(changes.len() as u64 + 1)).unwrap_or(0);
        for (number, change) in changes.iter().enumerate() {
            let survives = match how {
                Survival::None => false,
                Survival::All => true,
                Survival::Prefix => number < first,
                Survival::Each => !dice.once_in(3),
            };
            if survives {
                change.apply(&mut self.durable);
            }
        }
        // What lies in a folder that is not there is out of reach.
        let reachable = |path: &str, names: &BTreeMap<String, Node>| {
            let mut folder = parent(path);
            while !folder.is_empty() {
                if names.get(folder) != Some(&Node::Folder) {
                    return false;
                }
                folder = parent(folder);
            }
            true
        };
        let names = self.durable.clone();
        self.durable.retain(|path, _| reachable(path, &names));
        self.now = self.durable.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_durable_with_its_folder() {
        let mut tree = Tree::default();
        tree.make_folders("a/b/c");
        tree.link("a/b/c", Node::File(1));
        tree.sync("a/b");
        let mut lost = tree.clone();
        lost.power_cut(Survival::None, &mut Dice::new(1));
        assert_eq!(lost.iter().count(), 0, "its folder has no name yet");
        tree.sync("a");
        tree.sync("");
        tree.unlink("a/b/c");
        let mut back = tree.clone();
        back.power_cut(Survival::None, &mut Dice::new(1));
        assert_eq!(back.get("a/b/c"), Some(Node::File(1)), "the unlink was not synced");
        tree.sync("a/b");
        tree.power_cut(Survival::None, &mut Dice::new(1));
        assert_eq!(tree.get("a/b/c"), None);
    }

    #[test]
    fn a_rename_is_whole_or_not_at_all() {
        for seed in 0..50 {
            let mut tree = Tree::default();
            tree.link("a", Node::File(1));
            tree.sync("");
            tree.make_folders("x/a");
            tree.rename("a", "x/a", Node::File(1));
            tree.sync("x");
            tree.sync("");
            tree.rename("x/a", "a", Node::File(1));
            tree.power_cut(Survival::Each, &mut Dice::new(seed));
            assert_eq!(tree.iter().filter(|(_, node)| *node == Node::File(1)).count(), 1);
        }
    }
}
