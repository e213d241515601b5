//! One raw value per variable: precedence, files of secrets, unknown names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use heldar_base::Secret;

use super::dotenv::dotenv_layer;
use super::toml_file::file_layer;
use super::{Files, Given, Input, Layer, Raw, Source, env_layer, is_ours};
use crate::doctor::{DoctorEntry, Finding, Level};
use crate::kind::Kind;
use crate::load::StartError;
use crate::mask::{MASK, legible, shown};
use crate::suggest::nearest;
use crate::table::{all, find};
use crate::variable::{Effect, Secrecy, Variable};

/// The layers, highest precedence first.
pub(crate) struct Resolver<'a> {
    layers: [Layer; 4],
    files: &'a dyn Files,
    /// The settings file that was read.
    pub(crate) settings_file: Option<String>,
}

/// What the sources say about one variable.
pub(crate) enum Resolution {
    /// Nothing.
    Unset,
    /// This text. Blank only where blank is a value.
    Text(Secret<String>, Source),
    /// Something that is no value, already reported.
    Broken(Source),
}

impl<'a> Resolver<'a> {
    /// Reads the layers of all sources.
    pub(crate) fn new(input: &Input<'a>, errors: &mut Vec<StartError>) -> Self {
        errors.extend(input.flags.errors());
        let flags = input.flags.layer.clone();
        let env = env_layer(&input.env);
        let dotenv = dotenv_layer(input.files, errors);
        let layers = [flags, env, dotenv, Layer::new()];
        let mut resolver = Resolver { layers, files: input.files, settings_file: None };
        let named = find("HELDAR_CONFIG").and_then(|variable| resolver.config_path(variable));
        (resolver.layers[3], resolver.settings_file) = match named {
            Some(None) => (Layer::new(), None),
            Some(Some(named)) => file_layer(input.files, Some(named), errors),
            None => file_layer(input.files, None, errors),
        };
        resolver
    }

    /// The named settings file; `Some(None)` when the name itself is broken, and no other file may stand in for it.
    fn config_path(&self, variable: &Variable) -> Option<Option<(PathBuf, Source)>> {
        // What is wrong with the name is reported when all variables are resolved.
        match self.resolve(variable, &mut Vec::new(), &mut Vec::new()) {
            Resolution::Unset => None,
            Resolution::Text(path, source) => Some(Some((PathBuf::from(path.expose()), source))),
            Resolution::Broken(_) => Some(None),
        }
    }

    /// The highest source that sets a name. Blank is unset, except where the kind gives it a meaning.
    fn given(&self, name: &str, kind: &Kind) -> Option<&Given> {
        let blank_counts = matches!(kind, Kind::Origins);
        self.layers.iter().filter_map(|layer| layer.get(name)).find(|given| blank_counts || !given.is_blank())
    }

    /// Which source sets a variable whose value nobody looks at, and to what.
    pub(crate) fn peek(&self, variable: &Variable) -> Option<(Source, String)> {
        let given = self.given(variable.name, &variable.kind)?;
        let shown = match &given.raw {
            Raw::Text(text) => shown(variable, text.expose()),
            Raw::NotUnicode => MASK.to_owned(),
        };
        Some((given.source.clone(), shown))
    }

    /// What the sources say about a variable.
    pub(crate) fn resolve(
        &self,
        variable: &Variable,
        errors: &mut Vec<StartError>,
        findings: &mut Vec<Finding>,
    ) -> Resolution {
        let direct = self.given(variable.name, &variable.kind);
        let file_name = variable.file_variable();
        let file = file_name.as_deref().and_then(|name| self.given(name, &Kind::Path));
        match (direct, file, file_name) {
            (Some(direct), Some(file), Some(name)) => {
                let problem = format!("is set, and so is {name} ({}); set one of the two", file.source);
                let error = StartError::about(variable.name, direct.source.clone(), problem);
                errors.push(error.with_value(MASK));
                Resolution::Broken(direct.source.clone())
            }
            (Some(direct), ..) => {
                let Raw::Text(text) = &direct.raw else {
                    errors.push(not_unicode(variable.name, &direct.source, variable.kind));
                    return Resolution::Broken(direct.source.clone());
                };
                findings.extend(warn_of_readers(variable, text, direct));
                Resolution::Text(text.clone(), direct.source.clone())
            }
            (None, Some(file), Some(name)) => self.in_file(&name, file, errors, findings),
            (None, ..) => Resolution::Unset,
        }
    }

    /// The value in the file that `<VARIABLE>_FILE` names, without its trailing newline.
    fn in_file(
        &self,
        name: &str,
        given: &Given,
        errors: &mut Vec<StartError>,
        findings: &mut Vec<Finding>,
    ) -> Resolution {
        let source = given.source.clone();
        let broken = |errors: &mut Vec<StartError>, error: StartError| {
            errors.push(error);
            Resolution::Broken(source.clone())
        };
        let Raw::Text(path) = &given.raw else {
            return broken(errors, not_unicode(name, &source, Kind::Path));
        };
        let path = path.expose();
        let fail =
            |problem: String| StartError::about(name, source.clone(), problem).with_value(legible(path));
        let file = match self.files.read(Path::new(path)) {
            Ok(file) => file,
            Err(error) => return broken(errors, fail(format!("names a file, but {error}"))),
        };
        let Ok(text) = std::str::from_utf8(file.bytes.expose()) else {
            return broken(errors, fail("names a file that is not UTF-8".to_owned()));
        };
        let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        if text.trim().is_empty() {
            // An operator who names a file relies on it: that it is empty must not turn the secret off.
            return broken(errors, fail("names a file without a value".to_owned()));
        }
        if file.readable_by_others {
            findings.push(Finding {
                level: Level::Warning,
                code: "secret_file_readable",
                variable: Some(name.to_owned()),
                text: format!("{name} ({source}): every user of this machine can read {}", legible(path)),
            });
        }
        Resolution::Text(Secret::new(text.to_owned()), source)
    }

    /// Names of our form in the environment and `.env` that do not exist. In the settings file and on the command line
    /// they are errors, and were reported there.
    pub(crate) fn unknown(&self, entries: &mut Vec<DoctorEntry>, findings: &mut Vec<Finding>) {
        let known = || all().flat_map(|v| [Some(v.name.to_owned()), v.file_variable()]).flatten();
        let mut unknown: BTreeMap<&str, &Given> = BTreeMap::new();
        for (name, given) in self.layers[1..3].iter().flatten() {
            if is_ours(name) && !known().any(|known| known == *name) {
                unknown.entry(name).or_insert(given);
            }
        }
        for (name, given) in unknown {
            let shown = legible(name);
            let near = nearest(name, known());
            let note = near.map_or_else(
                || "no such variable".to_owned(),
                |near| format!("no such variable, the nearest one is {near}"),
            );
            findings.push(Finding {
                level: Level::Warning,
                code: "unknown_variable",
                variable: Some(shown.clone()),
                text: format!("{shown} ({}): {note}", given.source),
            });
            entries.push(DoctorEntry {
                name: shown,
                // It may be a misspelt secret.
                value: Some(MASK.to_owned()),
                source: given.source.clone(),
                default: None,
                secret: true,
                ignored: true,
                note: Some(note),
            });
        }
    }
}

fn not_unicode(name: &str, source: &Source, kind: Kind) -> StartError {
    StartError::about(name, source.clone(), "is not UTF-8").with_accepted(kind.accepted())
}

/// A secret where other users of the machine can read it.
fn warn_of_readers(variable: &Variable, text: &Secret<String>, given: &Given) -> Option<Finding> {
    if variable.secrecy == Secrecy::Plain || matches!(variable.effect, Effect::NotRead(_)) {
        return None;
    }
    // The usual database URL is a path.
    if matches!(variable.kind, Kind::Database) && !text.expose().contains('@') {
        return None;
    }
    let (code, place) = match (&given.source, given.readable_by_others) {
        (Source::Flag, _) => {
            ("secret_on_command_line", "every user of this machine can read it from the list of processes")
        }
        (_, true) => ("secret_file_readable", "every user of this machine can read the file it stands in"),
        (_, false) => return None,
    };
    let text = format!("{} ({}): {place}; {}_FILE is safer", variable.name, given.source, variable.name);
    Some(Finding { level: Level::Warning, code, variable: Some(variable.name.to_owned()), text })
}
