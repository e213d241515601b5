//! What the sources of the settings said, for those who ask the running server.

use heldar_config::{DoctorEntry, Finding, Level, Loaded, Source};

/// Every variable and what there is to say about them; empty when the settings did not come from sources.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// Every variable, in the order of the table.
    pub entries: Vec<DoctorEntry>,
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

impl From<&Loaded> for Configuration {
    fn from(loaded: &Loaded) -> Self {
        Configuration { entries: loaded.entries.clone(), findings: loaded.findings.clone() }
    }
}

impl Configuration {
    /// Findings that are also said at every start.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.level >= Level::Warning)
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.entry(name)?.value.as_deref()
    }

    /// True when nobody set the variable.
    pub fn is_default(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.source == Source::Default)
    }

    fn entry(&self, name: &str) -> Option<&DoctorEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}
