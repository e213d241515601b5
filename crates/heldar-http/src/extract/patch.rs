//! A field of a PATCH body (media.md 2.2).

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What a PATCH body says about one field. Goes with `#[serde(default)]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is not there: keep.
    #[default]
    Absent,
    /// `null`: clear where the field may be cleared, keep anywhere else.
    Null,
    /// Set.
    Value(T),
}

impl<T> Patch<T> {
    /// The new value of a field that has one always: `null` keeps.
    pub fn or_keep(self, old: T) -> T {
        match self {
            Patch::Value(value) => value,
            Patch::Absent | Patch::Null => old,
        }
    }

    /// The new value of a field that may be cleared.
    pub fn or_clear(self, old: Option<T>) -> Option<T> {
        match self {
            Patch::Value(value) => Some(value),
            Patch::Null => None,
            Patch::Absent => old,
        }
    }

    /// The value that was sent, if one was.
    pub fn value(&self) -> Option<&T> {
        match self {
            Patch::Value(value) => Some(value),
            Patch::Absent | Patch::Null => None,
        }
    }

    /// Checks or turns a value that was sent; what else was said stays.
    ///
    /// # Errors
    /// Those of `check`.
    pub fn try_map<U, E>(self, check: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        Ok(match self {
            Patch::Value(value) => Patch::Value(check(value)?),
            Patch::Null => Patch::Null,
            Patch::Absent => Patch::Absent,
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| value.map_or(Patch::Null, Patch::Value))
    }
}

impl<T: PartialSchema> PartialSchema for Patch<T>
where
    Option<T>: PartialSchema,
{
    fn schema() -> RefOr<Schema> {
        <Option<T> as PartialSchema>::schema()
    }
}

impl<T: ToSchema> ToSchema for Patch<T>
where
    Option<T>: PartialSchema,
{
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("Patch{}", T::name()))
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        name: Patch<String>,
    }

    #[test]
    fn three_states() {
        for (text, patch, kept, cleared) in [
            ("{}", Patch::Absent, "old", Some("old")),
            (r#"{"name":null}"#, Patch::Null, "old", None),
            (r#"{"name":"new"}"#, Patch::Value("new".to_owned()), "new", Some("new")),
        ] {
            let body: Body = serde_json::from_str(text).unwrap();
            assert_eq!(body.name, patch, "{text}");
            assert_eq!(patch.clone().or_keep("old".to_owned()), kept, "{text}");
            assert_eq!(patch.or_clear(Some("old".to_owned())).as_deref(), cleared, "{text}");
        }
    }
}
