//! What a variable is: name, kind, default, and what the server does with it.
//!
//! Owns the vocabulary of the table ([`crate::table`]). Never reads a value.

use crate::kind::Kind;
use crate::part::Part;

/// One setting, under its three names: variable, key of the file, flag.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Name in the environment and in `.env`.
    pub name: &'static str,
    /// The part of Heldar that reads it.
    pub part: Part,
    /// Which values are accepted.
    pub kind: Kind,
    /// What holds when it is not set.
    pub preset: Preset,
    /// Whether its value may be shown.
    pub secrecy: Secrecy,
    /// What the server does with a value.
    pub effect: Effect,
    /// One line for people: meaning and unit.
    pub doc: &'static str,
}

/// The value of a variable that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// There is none; the absence has a meaning of its own.
    Unset,
    /// This text, which is parsed like any other.
    Is(&'static str),
    /// Follows from other settings or from the machine, in these words.
    Derived(&'static str),
}

impl Preset {
    /// As shown in the reference and by `heldar doctor`; `None` when there is no default.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Preset::Unset => None,
            Preset::Is(text) | Preset::Derived(text) => Some(text),
        }
    }
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// It may.
    Plain,
    /// It is `***` everywhere, and may come from a file named by `<VARIABLE>_FILE`.
    Secret,
}

/// What the server does with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Checks it and, if its part is in this build, obeys it.
    Read,
    /// Accepts anything without looking at it, for this reason.
    Ignored(&'static str),
    /// It is meant for another program, this one; no flag and no key of the file.
    NotRead(&'static str),
    /// Refuses to start, for this reason, unless the value is one of those that ask for nothing. A value that would
    /// narrow access must never be ignored.
    Refused {
        /// Words that ask for nothing.
        unless: &'static [&'static str],
        /// What is missing.
        why: &'static str,
    },
}

impl Variable {
    /// A plain variable that the server reads.
    pub(crate) const fn new(
        name: &'static str,
        part: Part,
        kind: Kind,
        preset: Preset,
        doc: &'static str,
    ) -> Self {
        Variable { name, part, kind, preset, secrecy: Secrecy::Plain, effect: Effect::Read, doc }
    }

    pub(crate) const fn secret(self) -> Self {
        Variable { secrecy: Secrecy::Secret, ..self }
    }

    pub(crate) const fn effect(self, effect: Effect) -> Self {
        Variable { effect, ..self }
    }

    /// Its key in `heldar.toml`: `HELDAR_MAX_DB_GB` is `max_db_gb`.
    pub fn key(&self) -> String {
        key_of(self.name)
    }

    /// Its flag: `HELDAR_MAX_DB_GB` is `--max-db-gb`.
    pub fn flag(&self) -> String {
        format!("--{}", self.key().replace('_', "-"))
    }

    /// The variable that names a file with the value; only secrets have one.
    pub fn file_variable(&self) -> Option<String> {
        (self.secrecy == Secrecy::Secret).then(|| format!("{}_FILE", self.name))
    }
}

/// The key of a variable's name.
pub(crate) fn key_of(name: &str) -> String {
    name.strip_prefix("HELDAR_").unwrap_or(name).to_ascii_lowercase()
}
