//! Credentials of machines.

use heldar_base::{Secret, WallTime};

use super::account::StoredScope;

/// The secret that a key had before its last rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldKey {
    /// SHA-256 of it in 64 lowercase hexadecimal digits.
    pub hash: Secret<String>,
    /// First instant at which it does not work any more.
    pub valid_until: WallTime,
}

/// What can be set of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyFields {
    /// Its name, not empty.
    pub name: String,
    /// SHA-256 of the whole key in 64 lowercase hexadecimal digits; unique.
    pub key_hash: Secret<String>,
    /// The first characters of the key.
    pub key_prefix: String,
    /// The secret before, while it may still be used.
    pub old_key: Option<OldKey>,
    /// Its role.
    pub role: String,
    /// Whether it can be used.
    pub active: bool,
    /// JSON array of capabilities; `None`: those of the role.
    pub capabilities: Option<String>,
    /// What it may reach.
    pub grant: StoredScope,
    /// What it is for.
    pub description: Option<String>,
    /// First instant at which it does not work any more; `None`: never.
    pub expires_at: Option<WallTime>,
    /// When it was withdrawn for good.
    pub revoked_at: Option<WallTime>,
}

/// A credential of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, with the prefix [`ApiKey::PREFIX`].
    pub id: String,
    /// What can be set.
    pub fields: ApiKeyFields,
    /// The last use that was noted.
    pub last_used_at: Option<WallTime>,
    /// Address of the client of that use.
    pub last_used_ip: Option<String>,
    /// Id of the principal that made it, which may be gone since.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed; uses do not count.
    pub updated_at: WallTime,
    /// Counts its changes; an update names the one that it was made from.
    pub revision: i64,
}

impl ApiKey {
    /// Prefix of ids.
    pub const PREFIX: &'static str = "key";
}
