//! People and what is theirs.
//!
//! Roles, capabilities, scopes and networks are texts of the kernel. The store keeps them as they are, so that text that
//! nobody can read is still a row that can be listed and mended.

use heldar_base::{Secret, WallTime};

/// What an account or a key may reach, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredScope {
    /// [`StoredScope::ALL`], or a word for a scope that is limited to the lists.
    pub kind: String,
    /// JSON array of camera ids.
    pub cameras: String,
    /// JSON array of site ids.
    pub sites: String,
    /// JSON array of networks in CIDR notation that it may be used from.
    pub networks: String,
}

impl StoredScope {
    /// The word for a scope that is not limited.
    pub const ALL: &'static str = "all";
}

/// What can be set of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFields {
    /// The name to sign in with, not empty.
    pub username: String,
    /// The same without regard to case; unique.
    pub username_key: String,
    /// The name to show.
    pub display_name: Option<String>,
    /// Hash of the password, a PHC string.
    pub password_hash: Secret<String>,
    /// Its role.
    pub role: String,
    /// Whether it can be used.
    pub active: bool,
    /// Whether nothing but a new password is accepted until there is one.
    pub must_change_password: bool,
    /// What it may reach.
    pub grant: StoredScope,
}

impl AccountFields {
    /// The role of administrators.
    pub const ADMINISTRATOR: &'static str = "admin";

    /// True for an account that can administer everything now; one such account must stay.
    pub fn administers(&self) -> bool {
        self.active && self.role == Self::ADMINISTRATOR && self.grant.kind == StoredScope::ALL
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id, with the prefix [`Account::PREFIX`].
    pub id: String,
    /// What can be set.
    pub fields: AccountFields,
    /// The last sign-in.
    pub last_login_at: Option<WallTime>,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed; sign-ins do not count.
    pub updated_at: WallTime,
    /// Counts its changes; an update names the one that it was made from.
    pub revision: i64,
}

impl Account {
    /// Prefix of ids.
    pub const PREFIX: &'static str = "usr";
}

/// Layouts, language, theme and the like of one principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// JSON object.
    pub document: String,
    /// When it was last set.
    pub updated_at: WallTime,
}

impl Preference {
    /// The owner that is no account: everybody while access control is off.
    pub const SYSTEM: &'static str = "system";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_administers() {
        let check = |role: &str, active, kind: &str, expect| {
            let list = || "[]".to_owned();
            let grant =
                StoredScope { kind: kind.to_owned(), cameras: list(), sites: list(), networks: list() };
            let fields = AccountFields {
                username: "Ada".to_owned(),
                username_key: "ada".to_owned(),
                display_name: None,
                password_hash: Secret::new("$argon2id$hidden".to_owned()),
                role: role.to_owned(),
                active,
                must_change_password: false,
                grant,
            };
            assert_eq!(fields.administers(), expect, "{fields:?}");
            assert!(!format!("{fields:?}").contains("argon2id"));
        };
        check("admin", true, "all", true);
        check("admin", false, "all", false);
        check("admin", true, "cameras", false);
        check("manager", true, "all", false);
    }
}
