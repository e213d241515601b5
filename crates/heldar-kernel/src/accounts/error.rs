//! Why a change of people or keys was refused.

use heldar_access::{GrantError, Spent};
use heldar_store::{ErrorKind, StoreError};

use crate::registry::FieldError;
use crate::secrets::SecretError;

/// Why a change was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A field cannot be accepted.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// An element of a list cannot be accepted.
    #[error("{0}")]
    Element(FieldError, usize),
    /// A grant cannot be accepted.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// There is no such thing.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The username is taken.
    #[error("the username is taken")]
    Taken,
    /// It is the last one who administers everything.
    #[error("this is the last active administrator")]
    LastAdministrator,
    /// Nobody deletes their own account.
    #[error("nobody deletes their own account")]
    OwnAccount,
    /// Somebody is there already.
    #[error("set-up is over: there is an account")]
    SetUp,
    /// The one-time link is not that of this server, or its time is over.
    #[error("this set-up link does not hold; `heldar setup-link` prints one that does")]
    SetUpToken,
    /// Name and password do not sign in.
    #[error("invalid credentials")]
    SignIn,
    /// The same, because the client is locked out of the account.
    #[error("invalid credentials")]
    Locked,
    /// The store is lost, so that nobody can sign in.
    #[error("the store cannot be reached")]
    StoreLost,
    /// Too many attempts.
    #[error("too many attempts")]
    TooMany(Spent),
    /// Too many attempts at once.
    #[error("too many sign-ins at once")]
    Busy,
    /// Somebody else changed it at the same time.
    #[error("it was changed by someone else")]
    Changed,
    /// The system gives no randomness.
    #[error("no random bytes")]
    Random,
    /// A stored secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The task of the change ended without an answer.
    #[error("the change has no result")]
    Broken,
}

impl AccountError {
    /// What a refusal of the store means for a thing of this kind.
    pub(super) fn of(what: &'static str) -> impl Fn(StoreError) -> Self {
        move |error| match error.kind() {
            ErrorKind::NotFound => AccountError::NotFound(what),
            ErrorKind::InUse => AccountError::LastAdministrator,
            ErrorKind::Conflict => AccountError::Changed,
            _ => AccountError::Store(error),
        }
    }
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        AccountError::Store(error)
    }
}
