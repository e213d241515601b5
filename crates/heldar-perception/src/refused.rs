//! A field that breaks a rule.
//!
//! Owns: how the first offender of a request is named (perception.md 8.3). Never: status codes; every one of these is a
//! 400.

/// A value that is not accepted, and why. Nothing of the request takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Position in `detections`, where it is about one of them.
    pub index: Option<usize>,
    /// Name of the field; inside an event `event.` stands before it.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Refused {
    pub(crate) fn new(field: &'static str, why: &'static str) -> Self {
        Refused { index: None, field, why }
    }

    pub(crate) fn at(index: usize, field: &'static str, why: &'static str) -> Self {
        Refused { index: Some(index), field, why }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.index {
            Some(index) => write!(f, "detections[{index}].{}: {}", self.field, self.why),
            None => write!(f, "{}: {}", self.field, self.why),
        }
    }
}

impl std::error::Error for Refused {}
