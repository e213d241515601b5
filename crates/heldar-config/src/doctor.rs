//! What `heldar doctor` and `GET /api/v1/system/config` show.

use serde::Serialize;

use crate::sources::Source;

/// One variable as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorEntry {
    /// Name of the variable.
    pub name: String,
    /// The value in force, masked; `None`: not set, and no default.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// The default, in words where it follows from something else.
    pub default: Option<String>,
    /// True when the value is never shown.
    pub secret: bool,
    /// True when somebody set it and it has no effect.
    pub ignored: bool,
    /// Why, or what there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl DoctorEntry {
    /// Notes that a stored setting of the operator overrides the variable.
    pub fn overridden(&mut self, value: String) {
        self.value = Some(value);
        self.source = Source::Setting;
    }
}

/// Something an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Stable name.
    pub code: &'static str,
    /// The variable it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// For people; never holds a secret.
    pub text: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For `doctor` only.
    Notice,
    /// Also said at every start.
    Warning,
    /// The server does not start.
    Refusal,
}
