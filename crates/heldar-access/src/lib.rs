//! Who may do what: people, keys, sessions and their rights, decided in memory.
//!
//! Owns: the copy of accounts, keys and sessions from which every request is decided ([`Directory`]); the form of tokens;
//! scopes as they are written and what they cover; what makes a password acceptable; how often a source may try. Never: a
//! clock, a random number, the store, HTTP, a hash of a password.
//!
//! Invariants
//! 1. What cannot be read grants nothing.
//! 2. An empty list of cameras means no camera.
//! 3. Nothing here grows with what strangers send.
#![forbid(unsafe_code)]

mod attack;
mod denials;
mod directory;
mod grant;
mod limit;
mod password;
mod scope;
mod shown;
mod source;
mod token;

pub use attack::{Attack, AttackWatch};
pub use denials::{Denials, Summary};
pub use directory::{
    Directory, KeyTouched, Machine, Networks, Person, Refused, Resolved, SessionRules, SessionTouched, SignIn,
};
pub use grant::{Grant, GrantError, KeyGrant, PRIVILEGED};
pub use limit::{SourceLimit, Spent};
pub use password::{PasswordFault, PasswordRules, fold_username};
pub use scope::{ScopeError, ScopeSpec, SiteCameras};
pub use shown::{bearer, cookies, live_token, read_live_token};
pub use source::Source;
pub use token::{Token, TokenHash, TokenKind};
