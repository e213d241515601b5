//! Parameters of the query.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::reason::reason;
use crate::{ApiError, Code};

/// The query as a struct. Unknown parameters are ignored; what is missing, given twice or cannot be read is 400
/// `bad_query` with the parameter as `field`. Times are RFC 3339 (a `+` that arrived as a space is understood by
/// `WallTime`), booleans `1 true yes on` and `0 false no off` in any case, lists comma-separated with blanks dropped.
/// `#[serde(flatten)]` does not work here: serde then no longer knows the types.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        decode(parts.uri.query().unwrap_or_default()).map(Query)
    }
}

/// The decoded pairs of a query (WHATWG URL, application/x-www-form-urlencoded).
///
/// # Errors
/// 400 `bad_query` for what is no UTF-8, 400 `validation` for U+0000.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned());
        decoded.map_err(|_| ApiError::new(Code::BadQuery, "the query is not valid UTF-8"))
    };
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if name.contains('\0') || value.contains('\0') {
            let error = ApiError::new(Code::Validation, "text must not hold the character U+0000");
            return Err(if name.contains('\0') { error } else { error.with_field(name) });
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn decode<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let pairs = pairs(query)?;
    let map = MapDeserializer::new(pairs.into_iter().map(|(name, value)| (name, Text(value))));
    serde_path_to_error::deserialize(map).map_err(|error: serde_path_to_error::Error<Message>| {
        let reason = reason(error.path(), &error.inner().0);
        let error = ApiError::new(Code::BadQuery, reason.text);
        match reason.field {
            Some(field) => error.with_field(field),
            None => error,
        }
    })
}

/// An error that is its message.
#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Message {}
impl serde::de::Error for Message {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Message(message.to_string())
    }
}

/// One value of a query, which becomes whatever its field wants.
struct Text(String);

impl IntoDeserializer<'_, Message> for Text {
    type Deserializer = Text;

    fn into_deserializer(self) -> Text {
        self
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty,)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Message> {
            match self.0.parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Message::invalid_type(Unexpected::Str(&self.0), &stringify!($type))),
            }
        })+
    };
}

impl<'de> Deserializer<'de> for Text {
    type Error = Message;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Message> {
        visitor.visit_string(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Message> {
        match self.0.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => visitor.visit_bool(true),
            "0" | "false" | "no" | "off" => visitor.visit_bool(false),
            _ => Err(Message::invalid_type(Unexpected::Str(&self.0), &"true or false")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Message> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Message> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Message> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Message> {
        let items = self.0.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items: Vec<Text> = items.map(|item| Text(item.to_owned())).collect();
        visitor.visit_seq(serde::de::value::SeqDeserializer::new(items.into_iter()))
    }

    numbers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

/// A whole number that is moved into its range instead of being refused (media.md 2.4). Text that is no whole number is
/// an error. Goes with `#[serde(default)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<const DEFAULT: u32, const MIN: u32, const MAX: u32>(u32);

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> Limit<DEFAULT, MIN, MAX> {
    /// The number, inside the range.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> Default for Limit<DEFAULT, MIN, MAX> {
    fn default() -> Self {
        Limit(DEFAULT)
    }
}

impl<'de, const DEFAULT: u32, const MIN: u32, const MAX: u32> Deserialize<'de> for Limit<DEFAULT, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (sign, digits) = match text.as_bytes().first() {
            Some(b'-') => (-1, text.get(1..).unwrap_or_default()),
            Some(b'+') => (1, text.get(1..).unwrap_or_default()),
            _ => (1, text.as_str()),
        };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(D::Error::invalid_type(Unexpected::Str(&text), &"a whole number"));
        }
        let value: i64 = digits.parse().unwrap_or(i64::MAX).saturating_mul(sign);
        Ok(Limit(u32::try_from(value.clamp(i64::from(MIN), i64::from(MAX))).unwrap_or(DEFAULT)))
    }
}

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> PartialSchema for Limit<DEFAULT, MIN, MAX> {
    /// Without the bounds: what lies outside is moved, not refused.
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .default(Some(DEFAULT.into()))
            .description(Some(format!("Moved into {MIN}..{MAX}.")))
            .into()
    }
}

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32> ToSchema for Limit<DEFAULT, MIN, MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Limit{DEFAULT}From{MIN}To{MAX}").into()
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::{CameraId, StreamKind, WallTime};
    use proptest::prelude::*;

    use super::*;

    #[derive(Deserialize, Debug, Default)]
    #[serde(default)]
    struct Window {
        from: Option<WallTime>,
        limit: Limit<100, 1, 1000>,
        detail: bool,
        stream: Option<StreamKind>,
        cameras: Option<Vec<CameraId>>,
        count: Option<u32>,
        name: Option<String>,
    }

    #[derive(Deserialize, Debug)]
    struct Required {
        #[serde(rename = "to")]
        _to: WallTime,
    }

    fn check(query: &str, show: impl Fn(&Window) -> String, expect: &str) {
        let got = match decode::<Window>(query) {
            Ok(window) => show(&window),
            Err(error) => {
                let body: serde_json::Value = serde_json::from_slice(&error.body("")).unwrap();
                format!("{} {}", body["code"].as_str().unwrap(), body["field"].as_str().unwrap_or("-"))
            }
        };
        assert_eq!(got, expect, "{query}");
    }

    #[test]
    fn values() {
        let from = |window: &Window| window.from.map(|t| t.to_string()).unwrap_or_default();
        check("from=2026-01-31T12:00:00%2B02:00", from, "2026-01-31T10:00:00Z");
        check("from=2026-01-31T12:00:00+02:00", from, "2026-01-31T10:00:00Z");
        check("from=2026-01-31T12:00:00Z&unknown=1&x", from, "2026-01-31T12:00:00Z");
        check("from=yesterday", from, "bad_query from");
        check("from=", from, "bad_query from");
        check("from=2026-01-31T12:00:00Z&from=2026-01-31T12:00:00Z", from, "bad_query from");
        check("%ff=1", from, "bad_query -");
        check("from=%00", from, "validation from");

        let limit = |window: &Window| window.limit.get().to_string();
        check("", limit, "100");
        check("limit=7", limit, "7");
        check("limit=0", limit, "1");
        check("limit=-5", limit, "1");
        check("limit=5000", limit, "1000");
        check("limit=99999999999999999999999", limit, "1000");
        check("limit=-99999999999999999999999", limit, "1");
        check("limit=ten", limit, "bad_query limit");
        check("limit=1.5", limit, "bad_query limit");
        check("limit=", limit, "bad_query limit");
        check("limit=-", limit, "bad_query limit");

        let detail = |window: &Window| window.detail.to_string();
        for (text, expect) in [
            ("1", "true"),
            ("TRUE", "true"),
            ("yes", "true"),
            ("On", "true"),
            ("0", "false"),
            ("no", "false"),
        ] {
            check(&format!("detail={text}"), detail, expect);
        }
        check("detail=2", detail, "bad_query detail");
        check("detail", detail, "bad_query detail");

        let rest = |window: &Window| format!("{:?} {:?} {:?}", window.stream, window.cameras, window.count);
        check("stream=sub&cameras=a,,%20b%20&count=3", rest, "Some(Sub) Some([a, b]) Some(3)");
        check("cameras=", rest, "None Some([]) None");
        check("stream=third", rest, "bad_query stream");
        check("cameras=a,B", rest, "bad_query cameras[1]");
        check("count=-1", rest, "bad_query count");
        check("name=a%20b+c", |window| window.name.clone().unwrap_or_default(), "a b c");
    }

    #[test]
    fn a_required_parameter() {
        let error = decode::<Required>("").unwrap_err();
        let body: serde_json::Value = serde_json::from_slice(&error.body("")).unwrap();
        assert_eq!((body["code"].as_str(), body["field"].as_str()), (Some("bad_query"), Some("to")));
    }

    proptest! {
        #[test]
        fn any_query_is_answered(query in "[ -~]{0,80}") {
            let _outcome = decode::<Window>(&query);
        }

        #[test]
        fn limits_clamp(value in any::<i128>()) {
            let window: Window = decode(&format!("limit={value}")).unwrap();
            prop_assert_eq!(i128::from(window.limit.get()), value.clamp(1, 1000));
        }
    }
}
