//! Which crates a `Cargo.toml` asks for, and where it says so.
//!
//! Owns: the part of TOML that manifests of this workspace use (one dependency per line or table). Never: versions,
//! features, anything else that cargo itself checks.

/// What a dependency is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `[dependencies]` and `[build-dependencies]`, for any target.
    Product,
    /// `[dev-dependencies]`, for any target.
    Tests,
}

/// One dependency.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package, also where it is renamed.
    pub(crate) name: String,
    pub(crate) purpose: Purpose,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// Reads the dependencies of one manifest.
pub(crate) fn dependencies(text: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    let mut table = Table::Other;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            table = Table::named(header.split(']').next().unwrap_or_default());
            if let Table::One(purpose, name) = &table {
                found.push(Dependency { name: name.clone(), purpose: *purpose, line: line_number });
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        match &table {
            Table::Many(purpose) => {
                let name = key.split('.').next().unwrap_or(key).trim().trim_matches('"').to_owned();
                let name = renamed(value).unwrap_or(name);
                found.push(Dependency { name, purpose: *purpose, line: line_number });
            }
            Table::One(..) if key.trim() == "package" => {
                if let Some(last) = found.last_mut() {
                    last.name = value.trim().trim_matches('"').to_owned();
                }
            }
            Table::One(..) | Table::Other => {}
        }
    }
    found
}

/// The package of `{ package = "name", ... }`.
fn renamed(value: &str) -> Option<String> {
    let (_, after) = value.split_once("package")?;
    let after = after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
    Some(after.split('"').next().unwrap_or_default().to_owned())
}

enum Table {
    Many(Purpose),
    One(Purpose, String),
    Other,
}

impl Table {
    /// `dependencies`, `dev-dependencies.NAME`, `target.'cfg(unix)'.dependencies` and the like.
    fn named(header: &str) -> Self {
        let header = match header.strip_prefix("target.") {
            Some(rest) => rest.rfind("dependencies").map_or("", |at| {
                let start = rest[..at].rfind('.').map_or(0, |dot| dot + 1);
                &rest[start..]
            }),
            None => header,
        };
        let (kind, name) = match header.split_once('.') {
            Some((kind, name)) => (kind, Some(name.trim_matches('"').to_owned())),
            None => (header, None),
        };
        let purpose = match kind {
            "dependencies" | "build-dependencies" => Purpose::Product,
            "dev-dependencies" => Purpose::Tests,
            _ => return Self::Other,
        };
        name.map_or(Self::Many(purpose), |name| Self::One(purpose, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_dependency_is_found() {
        let text = "[package]\nname = \"x\"\n\n[dependencies]\n# why\na.workspace = true\nb = \"1\"\n\
                    c = { package = \"cc\", version = \"1\" }\n\n[dev-dependencies]\nd = { workspace = true }\n\n\
                    [build-dependencies]\ne = \"1\"\n\n[target.'cfg(unix)'.dependencies]\nf = \"1\"\n\n\
                    [dependencies.g]\npackage = \"gg\"\nversion = \"1\"\n\n[features]\nh = []\n";
        let found: Vec<(String, Purpose, usize)> =
            dependencies(text).into_iter().map(|d| (d.name, d.purpose, d.line)).collect();
        let want = [
            ("a", Purpose::Product, 6),
            ("b", Purpose::Product, 7),
            ("cc", Purpose::Product, 8),
            ("d", Purpose::Tests, 11),
            ("e", Purpose::Product, 14),
            ("f", Purpose::Product, 17),
            ("gg", Purpose::Product, 19),
        ];
        assert_eq!(found, want.map(|(name, purpose, line)| (name.to_owned(), purpose, line)));
    }
}
