//! The reference page of all variables, written from the table.

use std::fmt::Write as _;

use crate::not_in_build;
use crate::part::Part;
use crate::table::all;
use crate::variable::{Effect, Preset, Secrecy, Variable};

/// How to read the page; the rules of sources and values.
const PREFACE: &str = "\
# Configuration

Every setting of the server. This page is generated from the table that the server itself reads.

## Where values come from

Highest first: a flag of the command line, the environment, `.env` in the working directory, the settings file, the
default. A setting that an operator stored through the API overrides the variable it names.

| Name | Example |
|---|---|
| environment, `.env` | `HELDAR_MAX_DB_GB=4` |
| settings file | `max_db_gb = 4` |
| flag | `--max-db-gb 4` |

- The settings file is the one named by `--config` or `HELDAR_CONFIG`, else `./heldar.toml`, else
  `/etc/heldar/heldar.toml`. A named file that is missing stops the start. Lists may be written as arrays.
- A secret may stand in a file of its own: `HELDAR_SECRET_KEY_FILE=/run/secrets/key`. Its trailing newline is cut. The
  secret and its `_FILE` form together stop the start.
- A name that does not exist stops the start in the settings file and on the command line, and is a warning in the
  environment.
- Blank is the same as unset, except for `HELDAR_CORS_ORIGINS`.
- A value that is not accepted stops the start, with its name, its source and what is accepted; all of them are reported
  at once. A value outside of its bounds is moved to the nearer one, with a warning. Nothing is replaced silently.
- `heldar doctor` shows for every variable its value, where it comes from, and why it has no effect if it has none.
";

/// The page, in Markdown.
pub fn reference_page() -> String {
    let mut page = PREFACE.to_owned();
    for part in Part::ALL {
        let variables: Vec<&Variable> = all().filter(|variable| variable.part == *part).collect();
        if variables.is_empty() {
            continue;
        }
        // Writing into a String does not fail.
        let _infallible = section(&mut page, *part, &variables);
    }
    page
}

fn section(page: &mut String, part: Part, variables: &[&Variable]) -> std::fmt::Result {
    writeln!(page, "\n## {}\n", part.title())?;
    if not_in_build::ABSENT.contains(&part) {
        writeln!(page, "Not in this build: values are checked, and have no effect.\n")?;
    }
    if variables.iter().all(|variable| matches!(variable.effect, Effect::Ignored(_))) {
        writeln!(page, "Accepted and ignored, whatever the value.\n\n| Variable | Because |\n|---|---|")?;
        return variables.iter().try_for_each(|v| writeln!(page, "| `{}` | {} |", v.name, cell(v.doc)));
    }
    if variables.iter().all(|variable| matches!(variable.effect, Effect::NotRead(_))) {
        writeln!(page, "Not read by the server.\n\n| Variable | Default | Meaning |\n|---|---|---|")?;
        return variables
            .iter()
            .try_for_each(|v| writeln!(page, "| `{}` | {} | {} |", v.name, default(v), cell(v.doc)));
    }
    writeln!(page, "| Variable | Default | Accepted | Bounds | Meaning |\n|---|---|---|---|---|")?;
    for variable in variables {
        let accepted = cell(&variable.kind.accepted());
        let bounds = cell(&variable.kind.clamp());
        writeln!(
            page,
            "| `{}` | {} | {accepted} | {bounds} | {} |",
            variable.name,
            default(variable),
            meaning(variable)
        )?;
    }
    Ok(())
}

fn default(variable: &Variable) -> String {
    match variable.preset {
        Preset::Unset => "unset".to_owned(),
        Preset::Is("") => "empty".to_owned(),
        Preset::Is(text) => format!("`{}`", cell(text)),
        Preset::Derived(words) => cell(words),
    }
}

fn meaning(variable: &Variable) -> String {
    let mut text = cell(variable.doc);
    if variable.secrecy == Secrecy::Secret {
        text.push_str(" (secret; also as `_FILE`)");
    }
    if let Effect::Refused { why, .. } = variable.effect {
        text.push_str(" (refused: ");
        text.push_str(why);
        text.push(')');
    }
    if let Some(refused) = not_in_build::REFUSED.iter().find(|refused| refused.variable == variable.name) {
        text.push_str(" (this build accepts only: ");
        text.push_str(refused.accepted);
        text.push(')');
    }
    text
}

/// Text that does not end a table cell or open a tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
