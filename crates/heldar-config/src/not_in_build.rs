//! Not in this build: what the contract has, and this server has not yet.
//!
//! Whoever adds a part removes its line, and no more: the table already knows its variables.

use crate::part::Part;
use crate::value::Value;

/// Parts whose variables are checked and have no effect.
pub(crate) const ABSENT: &[Part] = &[
    Part::Acme,
    Part::SingleSignOn,
    Part::SecondFactor,
    Part::Shares,
    Part::DatabaseBackup,
    Part::DiskHealth,
    Part::FootageBackup,
    Part::Mirror,
    Part::Refill,
    Part::Devices,
    Part::ControlPlane,
    Part::Modules,
    Part::Mail,
    Part::Wasm,
    Part::Apps,
];

/// Variables whose value would make an operator believe to be protected: with such a value the server must not start.
pub(crate) const REFUSED: &[Refused] = &[Refused {
    variable: "HELDAR_TLS",
    asks: |value| matches!(value, Value::Word("acme")),
    why: "asks for certificates from an authority, which this build does not get",
    accepted: "off, files, self-signed",
}];

/// One entry of [`REFUSED`].
pub(crate) struct Refused {
    pub(crate) variable: &'static str,
    pub(crate) asks: fn(&Value) -> bool,
    pub(crate) why: &'static str,
    pub(crate) accepted: &'static str,
}

/// What stands beside a variable of an absent part.
pub(crate) fn note(part: Part) -> Option<String> {
    ABSENT.contains(&part).then(|| format!("not in this build: {}", part.title()))
}
