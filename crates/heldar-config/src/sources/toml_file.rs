//! The settings file.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{FileError, FileText, Files, Given, Layer, Source};
use crate::kind::Kind;
use crate::load::StartError;
use crate::suggest::nearest;
use crate::table::all;
use crate::variable::{Effect, Variable};
use crate::workers;

/// Where a settings file is looked for when none is named, in this order.
const USUAL: [&str; 2] = ["heldar.toml", "/etc/heldar/heldar.toml"];

/// Reads the named file, else the first usual one that exists, and says which.
pub(super) fn file_layer(
    files: &dyn Files,
    named: Option<(PathBuf, Source)>,
    errors: &mut Vec<StartError>,
) -> (Layer, Option<String>) {
    if let Some((path, source)) = named {
        let shown = path.display().to_string();
        return match files.read(&path) {
            Ok(file) => (layer_of(&shown, &file, errors), Some(shown)),
            Err(error) => {
                let error =
                    StartError::about("HELDAR_CONFIG", source, format!("names a settings file, but {error}"));
                errors.push(error.with_value(crate::mask::legible(&shown)));
                (Layer::new(), Some(shown))
            }
        };
    }
    for path in USUAL {
        match files.read(Path::new(path)) {
            Ok(file) => return (layer_of(path, &file, errors), Some(path.to_owned())),
            Err(FileError::NotFound) => {}
            Err(error) => {
                let source = Source::File { path: path.to_owned(), line: 1 };
                errors.push(StartError::about(path, source, format!("is there, but {error}")));
                return (Layer::new(), None);
            }
        }
    }
    (Layer::new(), None)
}

fn layer_of(path: &str, file: &FileText, errors: &mut Vec<StartError>) -> Layer {
    let at = |line| Source::File { path: path.to_owned(), line };
    let Ok(text) = std::str::from_utf8(file.bytes.expose()) else {
        errors.push(StartError::about(path, at(1), "is not UTF-8"));
        return Layer::new();
    };
    let (table, problems) = DeTable::parse_recoverable(text);
    // Behind a quote that is never closed, what looks like a name may be part of a secret.
    let names_are_names = problems.is_empty();
    for problem in problems {
        let line = problem.span().map_or(1, |span| line_of(text, span.start));
        // The parser's own words could quote a value.
        errors.push(StartError::about(path, at(line), "is not valid TOML here (text needs quotes)"));
    }
    let mut layer = Layer::new();
    for (key, value) in table.into_inner() {
        let line = line_of(text, key.span().start);
        let key = key.into_inner();
        let Some((name, kind)) = known_key(&key) else {
            if names_are_names {
                errors.push(StartError::about(crate::mask::legible(&key), at(line), unknown(&key)));
            }
            continue;
        };
        match text_of(value.get_ref(), &kind) {
            Ok(text) => {
                let given = Given::text(text, at(line));
                layer.insert(name, Given { readable_by_others: file.readable_by_others, ..given });
            }
            Err(problem) => {
                let error = StartError::about(name, at(line), problem);
                errors.push(error.with_accepted(kind.accepted()));
            }
        }
    }
    layer
}

/// The text of a value, as the environment would hold it.
fn text_of(value: &DeValue<'_>, kind: &Kind) -> Result<String, &'static str> {
    let is_list =
        matches!(kind, Kind::List | Kind::UrlList(_) | Kind::CidrList | Kind::AddressList | Kind::Origins);
    match value {
        DeValue::Array(items) if matches!(kind, Kind::Commands) => {
            let mut texts = Vec::new();
            for item in items.iter() {
                match item.get_ref().as_str() {
                    // What is wrong with one is said when all are parsed; each must be one by itself for that.
                    Some(text) if workers::parse(text).is_ok_and(|commands| commands.len() == 1) => {
                        texts.push(text)
                    }
                    _ => {
                        return Err(
                            "is an array of something else than one text <name>=<command> for each worker",
                        );
                    }
                }
            }
            Ok(texts.join(";"))
        }
        DeValue::Array(items) if is_list => {
            let mut texts = Vec::new();
            for item in items.iter() {
                match item.get_ref().as_str() {
                    Some(text) if !text.contains(',') => texts.push(text),
                    _ => return Err("is an array of something else than texts without commas"),
                }
            }
            Ok(texts.join(","))
        }
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Boolean(yes) => Ok(yes.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| "is out of range"),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Array(_) => Err("is an array"),
        DeValue::Table(_) => Err("is a table"),
        DeValue::Datetime(_) => Err("is a date or time"),
    }
}

/// The keys of a variable with the variable (or its `_FILE` form) and the kind of value.
fn keys(variable: &Variable) -> Vec<(String, String, Kind)> {
    // The file cannot name itself.
    if matches!(variable.effect, Effect::NotRead(_)) || variable.name == "HELDAR_CONFIG" {
        return Vec::new();
    }
    let mut keys = vec![(variable.key(), variable.name.to_owned(), variable.kind)];
    if let Some(file) = variable.file_variable() {
        keys.push((format!("{}_file", variable.key()), file, Kind::Path));
    }
    keys
}

fn known_key(key: &str) -> Option<(String, Kind)> {
    all().flat_map(keys).find(|(known, ..)| known == key).map(|(_, name, kind)| (name, kind))
}

fn unknown(key: &str) -> String {
    let lowered = key.to_ascii_lowercase();
    let plain = lowered.strip_prefix("heldar_").unwrap_or(&lowered).replace('-', "_");
    match nearest(&plain, all().flat_map(keys).map(|(known, ..)| known)) {
        Some(near) => format!("is not a known name, the nearest one is {near}"),
        None => "is not a known name".to_owned(),
    }
}

/// The line of a byte offset, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use heldar_base::Secret;
    use proptest::prelude::*;

    use super::*;
    use crate::sources::Raw;

    fn read(text: &str) -> (Vec<String>, Vec<String>) {
        let file = FileText { bytes: Secret::new(text.as_bytes().to_vec()), readable_by_others: false };
        let mut errors = Vec::new();
        let layer = layer_of("heldar.toml", &file, &mut errors);
        let given = layer.iter().map(|(name, given)| match &given.raw {
            Raw::Text(text) => format!("{name}={} {}", text.expose(), given.source),
            Raw::NotUnicode => panic!("{name}"),
        });
        (given.collect(), errors.iter().map(ToString::to_string).collect())
    }

    fn check(text: &str, given: &[&str], errors: &[&str]) {
        let got = read(text);
        assert_eq!(got.0, given, "{text}");
        assert_eq!(got.1, errors, "{text}");
    }

    #[test]
    fn values() {
        check("# c\nmax_db_gb = 4.5\n", &["HELDAR_MAX_DB_GB=4.5 heldar.toml:2"], &[]);
        check("api_port = 8_000", &["HELDAR_API_PORT=8000 heldar.toml:1"], &[]);
        check("api_port = 0x10", &["HELDAR_API_PORT=16 heldar.toml:1"], &[]);
        check("allow_open = true", &["HELDAR_ALLOW_OPEN=true heldar.toml:1"], &[]);
        check("tz = 'UTC'", &["TZ=UTC heldar.toml:1"], &[]);
        check(
            "cors_origins = ['http://a', 'http://b']",
            &["HELDAR_CORS_ORIGINS=http://a,http://b heldar.toml:1"],
            &[],
        );
        check(
            r#"workers = ["a = x 'p; q'", "b = y"]"#,
            &["HELDAR_WORKERS=a = x 'p; q';b = y heldar.toml:1"],
            &[],
        );
        check("secret_key_file = '/k'", &["HELDAR_SECRET_KEY_FILE=/k heldar.toml:1"], &[]);
    }

    #[test]
    fn errors() {
        check(
            "api_prot = 1",
            &[],
            &["api_prot (heldar.toml:1) is not a known name, the nearest one is api_port"],
        );
        check(
            "HELDAR_API_PORT = 1",
            &[],
            &["HELDAR_API_PORT (heldar.toml:1) is not a known name, the nearest one is api_port"],
        );
        check("\n[api]\nport = 1", &[], &["api (heldar.toml:2) is not a known name"]);
        check("config = 'x'", &[], &["config (heldar.toml:1) is not a known name"]);
        check("version = 'x'", &[], &["version (heldar.toml:1) is not a known name"]);
        check(
            "api_port = [1]",
            &[],
            &["HELDAR_API_PORT (heldar.toml:1) is an array; accepted: a whole number from 0 to 65535"],
        );
        check(
            "log = 2026-01-01",
            &[],
            &[
                "HELDAR_LOG (heldar.toml:1) is a date or time; accepted: comma-separated <level> or <target>=<level>; \
             level is trace, debug, info, warn, error or off",
            ],
        );
        check(
            "smart_devices = ['a,b']",
            &[],
            &[
                "HELDAR_SMART_DEVICES (heldar.toml:1) is an array of something else than texts without commas; \
             accepted: a comma-separated list",
            ],
        );
        for text in ["workers = ['a=x;b=y']", "workers = [1]", r#"workers = ["a='x", "b=y'"]"#] {
            let (given, errors) = read(text);
            assert!(given.is_empty() && errors.len() == 1, "{text} {errors:?}");
            assert!(errors[0].contains("<name>=<command>"), "{errors:?}");
        }
        let (_, errors) = read("log = 'info'\nsecret_key = hunter2hunter2\n");
        assert!(errors[0].starts_with("heldar.toml (heldar.toml:2) is not valid TOML here"), "{errors:?}");
        assert!(!errors.concat().contains("hunter2"), "{errors:?}");
        let (_, errors) = read("secret_key = 'AAECAwQF\nhunter2hunter2='\nnonsense_name = 1\n");
        assert!(!errors.is_empty() && !errors.concat().contains("hunter2"), "{errors:?}");
        let (given, errors) = read("fragment_ms = soon");
        assert_eq!((given.len(), errors.len()), (1, 1), "{given:?} {errors:?}");
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "((api_port|log|[a-z.\\[\\]]{1,6}) ?= ?)?[^\u{0}]{0,40}") {
            let _outcome = read(&text);
        }
    }
}
