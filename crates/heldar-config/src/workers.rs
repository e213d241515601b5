//! Workers that the server starts: their names and command lines.
//!
//! Owns: how a list of them is written. No shell reads it: a quote keeps what it encloses in one word, and every other
//! character stands for itself.

use heldar_base::Secret;

/// How every API key begins (auth-system.md 11.1).
const KEY_PREFIX: &str = "vok_";
/// Longest name of a worker.
const LONGEST_NAME: usize = 32;

/// Workers that the server starts.
#[derive(Clone, Debug, Default)]
pub struct WorkerSettings {
    /// In the order in which they are written.
    pub commands: Vec<WorkerCommand>,
    /// What they show to the server while access control is on.
    pub api_key: Option<Secret<String>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// Unique; 1 to 32 letters, digits, `-` and `_`.
    pub name: String,
    /// Looked for in `PATH` unless it holds a `/`.
    pub program: String,
    /// Its arguments, without the program.
    pub arguments: Vec<String>,
}

/// True for a text that would show a key to every user of this machine.
pub(crate) fn shows_a_key(text: &str) -> bool {
    text.contains(KEY_PREFIX)
}

/// Parses `<name>=<program and arguments>; ...`.
///
/// # Errors
/// What is wrong, without quoting the text; completes "is ...".
pub(crate) fn parse(text: &str) -> Result<Vec<WorkerCommand>, &'static str> {
    let mut commands: Vec<WorkerCommand> = Vec::new();
    for entry in entries(text)? {
        let command = command(entry)?;
        if commands.iter().any(|other| other.name == command.name) {
            return Err("gives one name to two workers");
        }
        commands.push(command);
    }
    Ok(commands)
}

fn command(entry: &str) -> Result<WorkerCommand, &'static str> {
    let (name, line) = entry.split_once('=').ok_or("holds a command without a name")?;
    let name = name.trim();
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(usual) {
        return Err("holds a name that is not 1 to 32 letters, digits, - and _");
    }
    if shows_a_key(line) {
        return Err("shows a key to every user of this machine; HELDAR_WORKER_API_KEY is the place for it");
    }
    let mut words = words(line)?.into_iter();
    let program =
        words.next().filter(|program| !program.is_empty()).ok_or("holds a name without a command")?;
    Ok(WorkerCommand { name: name.to_owned(), program, arguments: words.collect() })
}

/// The texts between semicolons and ends of lines outside of quotes, without blank ones.
fn entries(text: &str) -> Result<Vec<&str>, &'static str> {
    let (mut found, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ';' | '\n') => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if quote.is_some() {
        return Err("leaves a quote open");
    }
    found.push(&text[start..]);
    found.retain(|entry| !entry.trim().is_empty());
    Ok(found)
}

/// The words of a command line.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("leaves a quote open");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names and words, or what is wrong.
    #[track_caller]
    fn check(text: &str, expect: Result<&[(&str, &[&str])], &str>) {
        let got = parse(text).map(|commands| {
            let words = |c: WorkerCommand| std::iter::once(c.program).chain(c.arguments).collect::<Vec<_>>();
            commands.into_iter().map(|c| (c.name.clone(), words(c))).collect::<Vec<_>>()
        });
        let expect = expect.map(|list| {
            let owned = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
            list.iter().map(|(name, words)| ((*name).to_owned(), owned(words))).collect::<Vec<_>>()
        });
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn commands() {
        check("objects=heldar-worker objects", Ok(&[("objects", &["heldar-worker", "objects"])]));
        check(
            " a = x ; b=y  1\n;; c-2 = /z/w ;",
            Ok(&[("a", &["x"]), ("b", &["y", "1"]), ("c-2", &["/z/w"])]),
        );
        // What stands in quotes is one word, and none of a shell's signs has a meaning.
        check(r#"a=sh -c 'x; "y" $Z' "#, Ok(&[("a", &["sh", "-c", r#"x; "y" $Z"#])]));
        check(r#"a="my worker" --x="1 2" '' > \n"#, Ok(&[("a", &["my worker", "--x=1 2", "", ">", r"\n"])]));
        check("a=env X=1 y=z", Ok(&[("a", &["env", "X=1", "y=z"])]));
        check("", Ok(&[]));
        check(" ; ", Ok(&[]));
    }

    #[test]
    fn errors() {
        check("heldar-worker objects", Err("holds a command without a name"));
        check("a=x; =y", Err("holds a name that is not 1 to 32 letters, digits, - and _"));
        check("a b=x", Err("holds a name that is not 1 to 32 letters, digits, - and _"));
        check(
            &format!("{}=x", "n".repeat(33)),
            Err("holds a name that is not 1 to 32 letters, digits, - and _"),
        );
        check("a=", Err("holds a name without a command"));
        check("a=''", Err("holds a name without a command"));
        check("a=x;a=y", Err("gives one name to two workers"));
        check("a='x", Err("leaves a quote open"));
        check(
            "a=x --api-key vok_0123",
            Err("shows a key to every user of this machine; HELDAR_WORKER_API_KEY is the place for it"),
        );
    }

    proptest! {
        #[test]
        fn written_words_are_read_again(words in proptest::collection::vec("[^'\u{0}]{0,12}", 1..5)) {
            prop_assume!(!words[0].is_empty() && !words.concat().contains(KEY_PREFIX));
            let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            let read = parse(&format!("w={}", line.join(" "))).unwrap().remove(0);
            prop_assert_eq!(std::iter::once(read.program).chain(read.arguments).collect::<Vec<_>>(), words);
        }
    }
}
