//! What stands behind the commands, and the passwords that are asked for.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use heldar_base::Secret;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{Order, Password};

/// What `--help` says.
pub(super) const HELP: &str = "usage:
  heldar user add <name> [--role admin|manager|guard|viewer|integration] [--display-name <name>]
  heldar user passwd <name>
  heldar user list
  heldar user unlock <name>
  heldar user disable <name>
  heldar user enable <name>       active again, from every network
  heldar setup-link
  heldar rekey-secrets

Passwords come from the terminal or from standard input, never from arguments. --json tells the result to programs.
Settings are those of `heldar serve`: heldar.toml, HELDAR_*, or --name value. A server that runs on the same data folder
carries the command out, and what changes holds at once.
";

/// Arguments that make no order.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    /// They are not those of the command.
    #[error(
        "usage: heldar user add <name> [--role <role>] [--display-name <name>] | passwd <name> | list | unlock <name> | disable <name> | enable <name>; passwords come from standard input"
    )]
    User,
    /// The command takes none.
    #[error("takes no arguments but settings and --json")]
    Some,
    /// No password came.
    #[error("no password: type one, or pass it on standard input")]
    NoPassword,
    /// Both times another.
    #[error("the two passwords differ")]
    Differ,
    /// The terminal or the pipe failed.
    #[error("the password cannot be read")]
    Unread,
}

pub(super) fn nothing(rest: &[String]) -> Result<(), Wrong> {
    if rest.is_empty() { Ok(()) } else { Err(Wrong::Some) }
}

pub(super) fn user(rest: &[String]) -> Result<Order, Wrong> {
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => Ok(Order::UserList),
        ["unlock", name] => Ok(Order::UserUnlock { username: (*name).to_owned() }),
        ["enable", name] => Ok(Order::UserEnable { username: (*name).to_owned() }),
        ["disable", name] => Ok(Order::UserDisable { username: (*name).to_owned() }),
        ["passwd", name] => Ok(Order::UserPasswd { username: (*name).to_owned(), password: password()? }),
        ["add", name, options @ ..] => {
            let (mut role, mut display_name) = ("viewer".to_owned(), None);
            let mut options = options.iter();
            while let Some(option) = options.next() {
                match (*option, options.next()) {
                    ("--role", Some(word)) => role = (*word).to_owned(),
                    ("--display-name", Some(word)) => display_name = Some((*word).to_owned()),
                    _ => return Err(Wrong::User),
                }
            }
            Ok(Order::UserAdd { username: (*name).to_owned(), password: password()?, role, display_name })
        }
        _ => Err(Wrong::User),
    }
}

/// From a person twice, without showing it; from a pipe its first line.
fn password() -> Result<Password, Wrong> {
    if !std::io::stdin().is_terminal() {
        return line().map(Password);
    }
    let first = asked("Password: ")?;
    let second = asked("Once more: ")?;
    if first != second {
        return Err(Wrong::Differ);
    }
    Ok(Password(first))
}

fn asked(prompt: &str) -> Result<Secret<String>, Wrong> {
    let mut out = std::io::stderr();
    let told = out.write_all(prompt.as_bytes()).and_then(|()| out.flush());
    told.map_err(|_| Wrong::Unread)?;
    let stdin = std::io::stdin();
    let shown = tcgetattr(&stdin).map_err(|_| Wrong::Unread)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|_| Wrong::Unread)?;
    let line = line();
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &shown);
    // The line end that was not shown.
    let told = out.write_all(b"\n");
    restored.map_err(|_| Wrong::Unread)?;
    told.map_err(|_| Wrong::Unread)?;
    line
}

fn line() -> Result<Secret<String>, Wrong> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).map_err(|_| Wrong::Unread)?;
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    if text.is_empty() { Err(Wrong::NoPassword) } else { Ok(Secret::new(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let order = |words: &[&str]| user(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(matches!(order(&["list"]), Ok(Order::UserList)));
        assert!(matches!(order(&["unlock", "ada"]), Ok(Order::UserUnlock { username }) if username == "ada"));
        for words in
            [&[][..], &["add"], &["list", "x"], &["add", "x", "--role"], &["add", "x", "--password", "y"]]
        {
            assert_eq!(order(words).unwrap_err(), Wrong::User, "{words:?}");
        }
    }
}
