//! What handlers take out of a request, each with errors that name the field and never repeat the value.

mod json;
mod patch;
mod path;
mod query;
mod reason;
mod text;

pub use json::{JSON_LIMIT_BYTES, Json, JsonOrNothing, JsonUpTo};
pub use patch::Patch;
pub use path::Path;
pub(crate) use query::pairs;
pub use query::{Limit, Query};
pub use text::{Text, TextType};
