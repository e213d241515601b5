//! Which failures to take a new pair are worth a word: pure.
//!
//! A pair is replaced file by file, so a look that happens to come between the two files finds a broken one. What fails
//! is therefore reported at the second look that fails in the same way, at once when somebody asked for the look.

use crate::certificates::Ask;

/// What failed so far, since the last look that succeeded.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    seen: Option<String>,
    told: Option<String>,
}

impl Failures {
    /// The files hold what is served.
    pub(crate) fn none(&mut self) {
        *self = Failures::default();
    }

    /// They do not, and cannot be taken. True when this is to be reported.
    pub(crate) fn failed(&mut self, ask: Ask, detail: &str) -> bool {
        let again = self.seen.as_deref() == Some(detail);
        let told = self.told.as_deref() == Some(detail);
        self.seen = Some(detail.to_owned());
        let report = match ask {
            Ask::Operator => true,
            Ask::Routine => again && !told,
        };
        if report {
            self.told = Some(detail.to_owned());
        }
        report
    }

    /// What was reported and still holds.
    pub(crate) fn last(&self) -> Option<&str> {
        self.told.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_when_it_stays() {
        let mut failures = Failures::default();
        let mut check = |ask, detail, expect| assert_eq!(failures.failed(ask, detail), expect, "{detail}");
        check(Ask::Routine, "a", false);
        check(Ask::Routine, "b", false);
        check(Ask::Routine, "b", true);
        check(Ask::Routine, "b", false);
        check(Ask::Operator, "b", true);
        check(Ask::Operator, "c", true);
        check(Ask::Routine, "c", false);
        assert_eq!(failures.last(), Some("c"));
        failures.none();
        assert_eq!(failures.last(), None);
        assert!(!failures.failed(Ask::Routine, "c"), "a new episode");
    }
}
