//! Settings on the command line.

use std::ffi::OsString;
use std::fmt;

use super::{Given, Layer, Raw, Source};
use crate::kind::Kind;
use crate::load::StartError;
use crate::suggest::nearest;
use crate::table::all;
use crate::value::boolean;
use crate::variable::{Effect, Variable};

/// Settings taken from a command line, and what is left of it.
#[derive(Default)]
pub struct Flags {
    pub(super) layer: Layer,
    pub(super) errors: Vec<StartError>,
    /// What is no setting, in its order. A command removes what it knows; anything left is a start error.
    pub rest: Vec<OsString>,
}

impl fmt::Debug for Flags {
    /// Names only: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags").field("given", &self.layer.keys()).field("rest", &self.rest.len()).finish()
    }
}

impl Flags {
    /// Takes the settings out of the arguments behind a command: `--max-db-gb 4` or `--max-db-gb=4`. A boolean may stand
    /// alone (`--allow-open`). Behind `--` nothing is taken.
    pub fn take(args: impl IntoIterator<Item = OsString>) -> Self {
        let mut flags = Flags::default();
        let mut args = args.into_iter().peekable();
        while let Some(arg) = args.next() {
            let Some((name, inline)) = arg.to_str().and_then(split_flag) else {
                let end = arg == "--";
                flags.rest.push(arg);
                if end {
                    flags.rest.extend(args);
                    break;
                }
                continue;
            };
            let Some((variable, kind)) = known_flag(name) else {
                flags.rest.push(arg);
                continue;
            };
            let value = match inline {
                Some(value) => Some(OsString::from(value)),
                None if matches!(kind, Kind::Bool) => {
                    let word = args.next_if(|next| next.to_str().is_some_and(|text| boolean(text).is_ok()));
                    Some(word.unwrap_or_else(|| OsString::from("true")))
                }
                None => args.next_if(|next| next.to_str().is_none_or(|text| !text.starts_with("--"))),
            };
            flags.put(name.to_owned(), variable, value);
        }
        flags
    }

    fn put(&mut self, flag: String, variable: String, value: Option<OsString>) {
        let Some(value) = value else {
            self.errors.push(StartError::about(flag, Source::Flag, "stands without a value"));
            return;
        };
        let given = match value.into_string() {
            Ok(text) => Given::text(text, Source::Flag),
            Err(_) => Given { raw: Raw::NotUnicode, source: Source::Flag, readable_by_others: false },
        };
        if self.layer.insert(variable, given).is_some() {
            self.errors.push(StartError::about(flag, Source::Flag, "is given twice"));
        }
    }

    /// The errors of what was taken and of what is left. Arguments that are no flag are counted, not quoted: one may be
    /// the value of a misspelt flag.
    pub(super) fn errors(&self) -> Vec<StartError> {
        let mut errors = self.errors.clone();
        let mut behind_flag = false;
        for (n, arg) in self.rest.iter().enumerate() {
            let text = arg.to_string_lossy();
            match split_flag(&text) {
                Some((name, inline)) => {
                    let known = all().flat_map(flag_names).map(|(flag, ..)| flag);
                    let near = nearest(name, known).map(|flag| format!(", the nearest one is {flag}"));
                    let problem = format!("is not a known flag{}", near.unwrap_or_default());
                    errors.push(StartError::about(crate::mask::legible(name), Source::Flag, problem));
                    behind_flag = inline.is_none();
                }
                None if behind_flag => behind_flag = false,
                None => {
                    let what = format!("argument {} that is no setting", n + 1);
                    errors.push(StartError::about(what, Source::Flag, "is not expected here"));
                }
            }
        }
        errors
    }
}

/// `--name` or `--name=value`.
fn split_flag(arg: &str) -> Option<(&str, Option<&str>)> {
    let (name, inline) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    };
    (name.len() > 2 && name.starts_with("--")).then_some((name, inline))
}

/// The flags of a variable: name, variable (or its `_FILE` form), kind of value.
fn flag_names(variable: &Variable) -> Vec<(String, String, Kind)> {
    if matches!(variable.effect, Effect::NotRead(_)) {
        return Vec::new();
    }
    let mut names = vec![(variable.flag(), variable.name.to_owned(), variable.kind)];
    if let Some(file) = variable.file_variable() {
        names.push((format!("{}-file", variable.flag()), file, Kind::Path));
    }
    names
}

fn known_flag(name: &str) -> Option<(String, Kind)> {
    all().flat_map(flag_names).find(|(flag, ..)| flag == name).map(|(_, variable, kind)| (variable, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &str, given: &[(&str, &str)], rest: &[&str], errors: &[&str]) {
        let mut flags = Flags::take(args.split_whitespace().map(OsString::from));
        let layer: Vec<(String, String)> = flags
            .layer
            .iter()
            .map(|(name, given)| match &given.raw {
                Raw::Text(text) => (name.clone(), text.expose().clone()),
                Raw::NotUnicode => panic!("{name}"),
            })
            .collect();
        let given: Vec<(String, String)> =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(layer, given, "{args}");
        assert_eq!(flags.rest, rest, "{args}");
        flags.rest.retain(|arg| arg != "--json");
        let texts: Vec<String> = flags.errors().iter().map(ToString::to_string).collect();
        assert_eq!(texts, errors, "{args}");
    }

    #[test]
    fn taking() {
        check("--max-db-gb 4 --tz=UTC", &[("HELDAR_MAX_DB_GB", "4"), ("TZ", "UTC")], &[], &[]);
        check("--allow-open --json", &[("HELDAR_ALLOW_OPEN", "true")], &["--json"], &[]);
        check("--allow-open off", &[("HELDAR_ALLOW_OPEN", "off")], &[], &[]);
        check("--allow-open=perhaps", &[("HELDAR_ALLOW_OPEN", "perhaps")], &[], &[]);
        check("--secret-key-file /run/key", &[("HELDAR_SECRET_KEY_FILE", "/run/key")], &[], &[]);
        check("--max-db-gb -1", &[("HELDAR_MAX_DB_GB", "-1")], &[], &[]);
        check("--log=a=info", &[("HELDAR_LOG", "a=info")], &[], &[]);
        check("--api-port --json", &[], &["--json"], &["--api-port (flag) stands without a value"]);
        check(
            "--api-port 1 --api-port 2",
            &[("HELDAR_API_PORT", "2")],
            &[],
            &["--api-port (flag) is given twice"],
        );
        check(
            "--api-prot 1",
            &[],
            &["--api-prot", "1"],
            &["--api-prot (flag) is not a known flag, the nearest one is --api-port"],
        );
        check(
            "--api-prot=hunter2",
            &[],
            &["--api-prot=hunter2"],
            &["--api-prot (flag) is not a known flag, the nearest one is --api-port"],
        );
        check("hunter2", &[], &["hunter2"], &["argument 1 that is no setting (flag) is not expected here"]);
        check("--version", &[], &["--version"], &["--version (flag) is not a known flag"]);
        check(
            "-- --api-port 1",
            &[],
            &["--", "--api-port", "1"],
            &[
                "argument 1 that is no setting (flag) is not expected here",
                "--api-port (flag) is not a known flag, the nearest one is --api-port",
            ],
        );
    }
}
