//! The worker that finds objects, where it is installed.
//!
//! Owns: where it is found, what it says of itself, and the tasks that it gets. Never: a demo that does not start for want
//! of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use heldar_config::WorkerCommand;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::workers;

/// Name of the program, and of what it is to do.
const PROGRAM: &str = "heldar-worker";
pub(super) const NAME: &str = "objects";
/// Where `make demo` installs it, seen from the folder of this program.
const BESIDE: &str = "../demo-worker/bin";
/// Longest time for it to say what it finds objects with. It loads its model for that.
const PATIENCE: Duration = Duration::from_secs(60);

/// The worker, ready to run.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) command: WorkerCommand,
    /// What it finds objects with: `nanodet`, or `hog`, which knows people alone.
    pub(super) detector: String,
}

impl Objects {
    /// Finds it and asks what it has; why there is none, for people.
    pub(super) async fn find() -> Result<Objects, String> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(|folder| folder.join(BESIDE));
        let program = program(beside.as_deref(), std::env::var_os("PATH").as_deref())?;
        let program = program.to_string_lossy().into_owned();
        let detector = ask(&program).await.map_err(|error| format!("{program} is of no use: {error}"))?;
        let command = WorkerCommand { name: NAME.to_owned(), program, arguments: vec!["objects".to_owned()] };
        Ok(Objects { command, detector })
    }

    /// The task that a camera gets.
    pub(super) fn task(&self) -> Value {
        let mut config = json!({ "classes": ["person", "bicycle", "car", "motorcycle", "bus", "truck"] });
        if self.detector == "nanodet" {
            // What suits footage of people (sdk/python/README.md).
            config["threshold"] = json!(0.4);
        }
        json!({ "task_type": "detection", "stream_profile": "sub", "fps": 5, "width": 640, "config": config })
    }

    /// What is to be said of it.
    pub(super) fn shown(&self) -> &'static str {
        match self.detector.as_str() {
            "hog" => {
                "people are found by OpenCV's detector, slowly and not all; `heldar-worker models get nanodet` has a better one"
            }
            _ => "people and vehicles are found and followed",
        }
    }
}

fn program(beside: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let beside = beside.map(|folder| folder.join(PROGRAM)).filter(|program| program.is_file());
    beside.or_else(|| workers::find(PROGRAM, path).ok()).ok_or_else(|| {
        format!("there is no `{PROGRAM}`; `make demo` installs it where python3 with venv is, see sdk/python")
    })
}

/// The name of its detector.
async fn ask(program: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(["objects", "--check"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("it says nothing for {} s", PATIENCE.as_secs())),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match out.split_once(':') {
        Some((detector, _)) if output.status.success() => Ok(detector.trim().to_owned()),
        _ => Err(err.lines().last().unwrap_or("it says nothing").trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(folder: &Path, text: &str) -> String {
        let path = folder.join(PROGRAM);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_a_worker_says_of_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let says = async |text: &str| ask(&script(scratch.path(), text)).await;
        assert_eq!(says("[ \"$*\" = 'objects --check' ] && echo 'nanodet: /x:y'").await.unwrap(), "nanodet");
        let no_model = "echo start >&2; echo 'heldar-worker: no model is there' >&2; exit 1";
        assert_eq!(says(no_model).await.unwrap_err(), "heldar-worker: no model is there");
        assert_eq!(says("exit 0").await.unwrap_err(), "it says nothing");
        assert!(ask("/nowhere/heldar-worker").await.unwrap_err().contains("No such file"));
    }

    #[test]
    fn a_worker_beside_the_program_comes_before_one_in_path() {
        let (beside, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let find = || program(Some(beside.path()), Some(path.path().as_os_str()));
        assert!(find().unwrap_err().contains("make demo"));
        script(path.path(), "");
        assert_eq!(find().unwrap(), path.path().join(PROGRAM));
        script(beside.path(), "");
        assert_eq!(find().unwrap(), beside.path().join(PROGRAM));
    }
}
