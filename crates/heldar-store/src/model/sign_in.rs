//! Login sessions, and what is remembered of those who try to begin one.

use heldar_base::{Secret, WallTime};

/// A login session: a person who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInSession {
    /// Its id, with the prefix [`SignInSession::PREFIX`].
    pub id: String,
    /// SHA-256 of the whole token in 64 lowercase hexadecimal digits; unique.
    pub token_hash: Secret<String>,
    /// Id of the account.
    pub account: String,
    /// When it began.
    pub created_at: WallTime,
    /// The last use that was noted.
    pub last_used_at: WallTime,
    /// First instant at which it is none any more.
    pub expires_at: WallTime,
    /// Address of the client at sign-in.
    pub ip: Option<String>,
    /// Program of the client at sign-in.
    pub user_agent: Option<String>,
}

impl SignInSession {
    /// Prefix of ids.
    pub const PREFIX: &'static str = "ses";
}

/// Consecutive failed sign-ins to an account from one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInFailure {
    /// Id of the account.
    pub account: String,
    /// The source or device, as the kernel names it.
    pub client: String,
    /// How many.
    pub failures: u32,
    /// First instant at which the client may try again, which may have passed.
    pub locked_until: Option<WallTime>,
    /// The last failure that was counted.
    pub updated_at: WallTime,
}

/// A source or device that has signed in to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownClient {
    /// Id of the account.
    pub account: String,
    /// The source or device, as the kernel names it.
    pub client: String,
    /// Its last sign-in.
    pub last_at: WallTime,
    /// First instant at which it is known no more; `None`: never.
    pub expires_at: Option<WallTime>,
}

/// Where the next page of rows about accounts and clients begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCursor {
    /// Account of the last row seen.
    pub account: String,
    /// Its client.
    pub client: String,
}
