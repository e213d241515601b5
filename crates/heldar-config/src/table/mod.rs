//! The table of all variables, in the order of the reference.
//!
//! Parsing, flags, file keys, suggestions, `doctor` and the reference page have no list of their own: all read this one.

mod media;
mod outside;
mod perception;
mod system;

use crate::kind::{FloatRule, IntRule, Kind};
use crate::part::Part;
use crate::variable::{Preset, Variable};

/// Every variable, each name once.
pub fn all() -> impl Iterator<Item = &'static Variable> + Clone {
    [system::TABLE, media::TABLE, perception::TABLE, outside::TABLE].into_iter().flatten()
}

/// The variable of this name.
pub fn find(name: &str) -> Option<&'static Variable> {
    all().find(|variable| variable.name == name)
}

// Short forms, so that a line of a table is one variable.

const fn var(
    name: &'static str,
    part: Part,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Variable {
    Variable::new(name, part, kind, Preset::Is(default), doc)
}

const fn unset(name: &'static str, part: Part, kind: Kind, doc: &'static str) -> Variable {
    Variable::new(name, part, kind, Preset::Unset, doc)
}

const fn derived(
    name: &'static str,
    part: Part,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Variable {
    Variable::new(name, part, kind, Preset::Derived(default), doc)
}

const WEB: Kind = Kind::Url(&["http", "https"]);
const ANY_INT: Kind = Kind::Int(IntRule::ANY);
const NATURAL: Kind = Kind::Int(IntRule::NATURAL);
const PORT: Kind = Kind::Int(IntRule::PORT);

const fn floor(floor: i64) -> Kind {
    Kind::Int(IntRule::floor(floor))
}

const fn clamp(low: i64, high: i64) -> Kind {
    Kind::Int(IntRule::clamp(low, high))
}

const fn fraction(rule: FloatRule) -> Kind {
    Kind::Float(rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::value::parse_text;
    use crate::variable::{Effect, Secrecy};

    #[test]
    fn names_and_keys_are_unique() {
        let mut seen = BTreeSet::new();
        for variable in all() {
            assert!(seen.insert(variable.key()), "{} twice", variable.name);
            assert!(!variable.doc.is_empty() && !variable.doc.ends_with('.'), "{}", variable.name);
            assert!(
                variable.name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
                "{}",
                variable.name
            );
        }
        for variable in all().filter(|v| v.secrecy == Secrecy::Secret) {
            let file = variable.file_variable().expect("a secret has a file form");
            assert!(find(&file).is_none(), "{file} is a variable of its own");
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_kind_and_within_its_clamp() {
        for variable in all().filter(|v| v.effect == Effect::Read) {
            if let Preset::Is(text) = variable.preset {
                let parsed =
                    parse_text(&variable.kind, text).unwrap_or_else(|e| panic!("{}: {e:?}", variable.name));
                assert!(parsed.moved.is_none(), "{}", variable.name);
            }
        }
    }
}
