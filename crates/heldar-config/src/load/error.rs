//! What stops the start.

use std::fmt;

use serde::Serialize;

use crate::sources::Source;

/// One thing that stops the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartError {
    /// The variable, in the form in which it was given where it is not known.
    pub variable: String,
    /// The value, masked.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// What is wrong; completes "HELDAR_… (source) …".
    pub problem: String,
    /// What is accepted.
    pub accepted: Option<String>,
}

impl StartError {
    pub(crate) fn about(variable: impl Into<String>, source: Source, problem: impl Into<String>) -> Self {
        StartError { variable: variable.into(), value: None, source, problem: problem.into(), accepted: None }
    }

    /// With a value that was already masked.
    pub(crate) fn with_value(self, masked: impl Into<String>) -> Self {
        StartError { value: Some(masked.into()), ..self }
    }

    pub(crate) fn with_accepted(self, accepted: String) -> Self {
        StartError { accepted: Some(accepted), ..self }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)?;
        if let Some(value) = &self.value {
            write!(f, "={value}")?;
        }
        write!(f, " ({}) {}", self.source, self.problem)?;
        match &self.accepted {
            Some(accepted) => write!(f, "; accepted: {accepted}"),
            None => Ok(()),
        }
    }
}

/// Everything that stops the start; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartErrors(pub Vec<StartError>);

impl fmt::Display for StartErrors {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for StartErrors {}
