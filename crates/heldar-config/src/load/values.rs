//! Parsed values by name, and typed access to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use heldar_base::{Micros, Secret};
use url::Url;

use super::default_of;
use crate::origin::CorsPolicy;
use crate::posture::{AccessControl, DeploymentMode, Tier};
use crate::sources::Source;
use crate::table::find;
use crate::value::Value;
use crate::variable::Variable;
use crate::workers::WorkerCommand;
use heldar_base::Cidr;

/// What was made of each variable.
///
/// Every load asks for the same names with the same kinds, whatever the input, so that a name or kind that does not
/// match the table shows in the first test and never in the field.
#[derive(Default)]
pub(crate) struct Values {
    by_name: BTreeMap<&'static str, (Value, Source)>,
    broken: BTreeSet<&'static str>,
}

impl Values {
    pub(super) fn put(&mut self, variable: &'static Variable, value: Value, source: Source) {
        self.by_name.insert(variable.name, (value, source));
    }

    /// The start has failed; until it ends, the default stands in, so that the rest can be checked.
    pub(super) fn put_broken(&mut self, variable: &'static Variable, source: Source) {
        self.broken.insert(variable.name);
        self.put(variable, default_of(variable), source);
    }

    pub(super) fn variable(&self, name: &str) -> &'static Variable {
        find(name).expect("every name asked for is in the table")
    }

    pub(super) fn is_broken(&self, name: &str) -> bool {
        self.broken.contains(name)
    }

    /// True when some source sets it.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|(_, source)| *source != Source::Default)
    }

    pub(super) fn source(&self, name: &str) -> Source {
        self.by_name.get(name).map_or(Source::Default, |(_, source)| source.clone())
    }

    pub(crate) fn get(&self, name: &str) -> &Value {
        debug_assert!(find(name).is_some(), "{name} is not in the table");
        self.by_name.get(name).map_or(&Value::Unset, |(value, _)| value)
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        matches!(self.get(name), Value::Bool(true))
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Value::Int(number) => *number,
            other => unreachable!("{name} is a whole number with a default, not {other:?}"),
        }
    }

    pub(crate) fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Float(number) => *number,
            other => unreachable!("{name} is a number with a default, not {other:?}"),
        }
    }

    pub(crate) fn u32(&self, name: &str) -> u32 {
        u32::try_from(self.int(name).max(0)).unwrap_or(u32::MAX)
    }

    pub(crate) fn usize(&self, name: &str) -> usize {
        usize::try_from(self.int(name).max(0)).unwrap_or(usize::MAX)
    }

    pub(crate) fn seconds(&self, name: &str) -> Micros {
        Micros::from_secs(self.int(name))
    }

    /// Bytes above zero.
    pub(crate) fn bytes(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Value::Bytes(bytes) => u64::try_from(*bytes).ok().filter(|bytes| *bytes > 0),
            other => unreachable!("{name} is a size with a default, not {other:?}"),
        }
    }

    pub(crate) fn word(&self, name: &str) -> &'static str {
        match self.get(name) {
            Value::Word(word) => word,
            _ => "",
        }
    }

    pub(crate) fn tier(&self, name: &str) -> Option<Tier> {
        match self.word(name) {
            "off" => Some(Tier::Off),
            "warn" => Some(Tier::Warn),
            "enforce" => Some(Tier::Enforce),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Value::Text(text) => Some(text.expose().clone()),
            _ => None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        match self.get(name) {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        }
    }

    pub(crate) fn url(&self, name: &str) -> Option<Url> {
        match self.get(name) {
            Value::Url(url) => Some(url.clone()),
            _ => None,
        }
    }

    pub(crate) fn cidrs(&self, name: &str) -> Vec<Cidr> {
        match self.get(name) {
            Value::Cidrs(ranges) => ranges.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        match self.get(name) {
            Value::Addresses(addresses) => addresses.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn port(&self, name: &str) -> u16 {
        u16::try_from(self.int(name)).unwrap_or(0)
    }

    /// A port without a default.
    pub(crate) fn maybe_port(&self, name: &str) -> Option<u16> {
        match self.get(name) {
            Value::Int(port) => u16::try_from(*port).ok(),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Value::List(items) => items.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn commands(&self, name: &str) -> Vec<WorkerCommand> {
        match self.get(name) {
            Value::Commands(commands) => commands.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn cors(&self, name: &str) -> Option<CorsPolicy> {
        match self.get(name) {
            Value::Cors(policy) => Some(policy.clone()),
            _ => None,
        }
    }

    pub(crate) fn key(&self, name: &str) -> Option<Secret<[u8; 32]>> {
        match self.get(name) {
            Value::Key(key) => Some(key.clone()),
            _ => None,
        }
    }

    pub(crate) fn access_control(&self) -> AccessControl {
        if self.bool("HELDAR_AUTH_ENABLED") { AccessControl::On } else { AccessControl::Off }
    }

    pub(crate) fn mode(&self) -> DeploymentMode {
        DeploymentMode::new(&self.text("HELDAR_DEPLOYMENT_MODE").unwrap_or_default())
    }
}
