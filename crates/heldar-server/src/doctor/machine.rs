//! What else of the machine the settings rely on: files that they name, limits, programs.

use std::path::Path;

use heldar_config::{Finding, Level, Settings};
use heldar_kernel::address::VendorTemplates;
use rustix::process::{Resource, getrlimit};

use super::finding;

/// Open files below which a few dozen cameras with viewers run out.
const FEW_FILES: u64 = 1024;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(path) = &settings.cameras.vendor_templates {
        findings.extend(templates(path));
    }
    if let Some(folder) = &settings.api.web_dir
        && !folder.join("index.html").is_file()
    {
        let text = format!("HELDAR_WEB_DIR: {} holds no index.html", folder.display());
        findings.push(finding(Level::Warning, "web_dir_without_page", "HELDAR_WEB_DIR", text));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < FEW_FILES) {
        let text = format!(
            "this user may open {limit} files at a time; {FEW_FILES} and more are advised (ulimit -n)"
        );
        findings.push(finding(Level::Warning, "few_open_files", "", text));
    }
    if !in_path("ffmpeg") {
        let text =
            "ffmpeg is not installed; only `demo` and `testcam` need it, to draw their scene once".to_owned();
        findings.push(finding(Level::Notice, "no_ffmpeg", "", text));
    }
    findings
}

/// The operator's stream address templates: faulty ones are skipped by the server (media.md 4.1).
fn templates(path: &Path) -> Vec<Finding> {
    const VARIABLE: &str = "HELDAR_VENDOR_TEMPLATES";
    let warn =
        |text: String| finding(Level::Warning, "vendor_templates", VARIABLE, format!("{VARIABLE}: {text}"));
    match std::fs::read_to_string(path) {
        Err(error) => vec![warn(format!("{}: {error}", path.display()))],
        Ok(text) => match VendorTemplates::builtin().merge_json(&text) {
            Err(error) => vec![warn(format!("{} is no JSON array: {error}", path.display()))],
            Ok(faults) => faults.iter().map(|fault| warn(format!("skipped: {fault}"))).collect(),
        },
    }
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_templates(text: &str, expect: &[&str]) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("vendors.json");
        std::fs::write(&path, text).unwrap();
        let found = templates(&path);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (finding, part) in found.iter().zip(expect) {
            assert!(finding.text.contains(part), "{} lacks {part}", finding.text);
        }
    }

    #[test]
    fn vendor_templates() {
        check_templates(r#"[{"vendor": "acme", "main": "/main"}]"#, &[]);
        check_templates(r#"[{"vendor": "acme", "main": "main"}]"#, &["acme"]);
        check_templates("{}", &["no JSON array"]);
        assert_eq!(templates(Path::new("/nowhere.json")).len(), 1);
    }
}
