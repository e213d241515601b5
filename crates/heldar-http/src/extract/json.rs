//! JSON bodies.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;

use super::reason::{Complaint, reason};
use crate::{ApiError, Code};

/// Largest body of a route that says nothing else.
pub const JSON_LIMIT_BYTES: usize = 2 * 1024 * 1024;

/// Longest time a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// A JSON body of at most 2 MiB, as an argument; a JSON answer, as a result.
///
/// Errors of a body: 415 for another content type, 413 past the limit, 400 `invalid_json` for what is no JSON, 422
/// `invalid_body` for a field that is missing or has another JSON type, 400 `validation` for a value that its type does
/// not accept and for `\u0000` in any string. Unknown fields are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// A JSON body with a limit of its own, in bytes; otherwise as [`Json`].
#[derive(Clone, Copy, Debug)]
pub struct JsonUpTo<T, const LIMIT: usize>(pub T);

/// A JSON body whose fields all have a default, so that it may be left out; otherwise as [`Json`].
#[derive(Clone, Copy, Debug)]
pub struct JsonOrNothing<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrNothing<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(JsonOrNothing(T::default()));
        }
        read(request, JSON_LIMIT_BYTES).await.map(JsonOrNothing)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        read(request, JSON_LIMIT_BYTES).await.map(Json)
    }
}

impl<T: DeserializeOwned, S: Send + Sync, const LIMIT: usize> FromRequest<S> for JsonUpTo<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        read(request, LIMIT).await.map(JsonUpTo)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(text) => {
                let mut response = Response::new(Body::from(text));
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => ApiError::internal(error).into_response(),
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::new(Code::UnsupportedMediaType, "the body must be application/json"));
    }
    let text = collect(request.into_body(), limit, Code::InvalidJson).await?;
    decode(&text)
}

/// `application/json` or a `+json` type, whatever its parameters, and not compressed.
fn is_json(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A whole body; `broken` is the code of one that does not arrive.
pub(super) async fn collect(body: Body, limit: usize, broken: Code) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(Code::TooLarge, format!("the body is larger than {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            Err(ApiError::new(broken, "the body ended before it was complete").with_cause(error))
        }
        Err(_elapsed) => Err(ApiError::new(broken, "the body took too long to arrive")),
    }
}

/// Reads a body: first whether it is JSON at all, then whether it holds what a string may not, then the type. Every body is
/// an object; serde would take an array for one as well.
pub(super) fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(ApiError::new(Code::InvalidJson, "the body is not UTF-8").with_cause(error));
    }
    serde_json::from_slice::<IgnoredAny>(text).map_err(|error| syntax(&error))?;
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::new(Code::InvalidBody, "the body must be a JSON object"));
    }
    if has_nul_escape(text) {
        let place = serde_json::from_slice::<Value>(text).ok().and_then(|value| nul_place(&value));
        let error = ApiError::new(Code::Validation, "text must not hold the character U+0000");
        return Err(match place {
            Some(place) => error.with_field(place),
            None => error,
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        if error.inner().classify() != Category::Data {
            return syntax(error.inner());
        }
        let reason = reason(error.path(), &error.inner().to_string());
        let code = match reason.complaint {
            Complaint::Shape => Code::InvalidBody,
            Complaint::Value => Code::Validation,
        };
        let error = ApiError::new(code, reason.text);
        match reason.field {
            Some(field) => error.with_field(field),
            None => error,
        }
    })
}

/// serde_json says what it expected and where, and quotes nothing.
fn syntax(error: &serde_json::Error) -> ApiError {
    ApiError::new(Code::InvalidJson, format!("the body is not valid JSON: {error}"))
}

/// True when a valid JSON text holds the escape `\u0000`. Backslashes occur in strings only.
fn has_nul_escape(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(at..).unwrap_or_default();
        if escape.starts_with(b"\\u0000") {
            return true;
        }
        rest = escape.get(2..).unwrap_or_default();
    }
    false
}

/// Where the first string with U+0000 stands. The depth of a value is bounded by its parser.
fn nul_place(value: &Value) -> Option<String> {
    let join = |head: String, tail: String| match tail.as_str() {
        "" => head,
        tail if tail.starts_with('[') => format!("{head}{tail}"),
        tail => format!("{head}.{tail}"),
    };
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| nul_place(item).map(|tail| join(format!("[{at}]"), tail))),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            if name.contains('\0') {
                return Some(String::new());
            }
            nul_place(field).map(|tail| join(name.clone(), tail))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::WallTime;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::extract::Patch;

    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only the reading matters")]
    struct Body {
        name: String,
        port: Option<u16>,
        #[serde(default)]
        points: Vec<Point>,
        at: Option<WallTime>,
        kind: Option<Kind>,
        #[serde(default)]
        password: Patch<String>,
    }

    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only the reading matters")]
    struct Point {
        x: f64,
    }

    #[derive(Deserialize, Debug)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Main,
        Sub,
    }

    /// `expect` is the code and the field.
    fn check(text: &str, expect: Result<(), (&str, &str)>) {
        let got = decode::<Body>(text.as_bytes()).map(|_| ());
        let body: Value = match &got {
            Ok(()) => Value::Null,
            Err(error) => serde_json::from_slice(&error.body("req_1")).unwrap(),
        };
        let got = got.map_err(|_| (body["code"].as_str().unwrap(), body["field"].as_str().unwrap_or("")));
        assert_eq!(got, expect, "{text}: {body}");
        let said = body.to_string();
        assert!(!said.contains("hunter2") && !said.contains("struct"), "{said}");
    }

    #[test]
    fn bodies() {
        check(r#"{"name":"a"}"#, Ok(()));
        check(r#"{"name":"a","unknown":[{}],"port":null}"#, Ok(()));
        check("", Err(("invalid_json", "")));
        check("{", Err(("invalid_json", "")));
        check(r#"{"name":"a"} x"#, Err(("invalid_json", "")));
        // Not JSON wins over a wrong field, wherever the break is.
        check(r#"{"name":5,"#, Err(("invalid_json", "")));
        check("{\"name\":\"a\0\"}", Err(("invalid_json", "")));
        check("\u{feff}{}", Err(("invalid_json", "")));
        check(&"[".repeat(100_000), Err(("invalid_json", "")));
        check("{}", Err(("invalid_body", "name")));
        check("[]", Err(("invalid_body", "")));
        check("5", Err(("invalid_body", "")));
        check(r#"{"name":5}"#, Err(("invalid_body", "name")));
        check(r#"{"name":"a","port":"hunter2"}"#, Err(("invalid_body", "port")));
        check(r#"{"name":"a","port":1.5}"#, Err(("invalid_body", "port")));
        check(r#"{"name":"a","name":"b"}"#, Err(("invalid_body", "name")));
        check(r#"{"name":"a","points":[{"x":1},{"y":1}]}"#, Err(("invalid_body", "points[1].x")));
        check(r#"{"name":"a","port":70000}"#, Err(("validation", "port")));
        check(r#"{"name":"a","port":-1}"#, Err(("validation", "port")));
        check(r#"{"name":"a","at":"yesterday"}"#, Err(("validation", "at")));
        check(r#"{"name":"a","at":5}"#, Err(("invalid_body", "at")));
        check(r#"{"name":"a","kind":"hunter2"}"#, Err(("validation", "kind")));
        check(r#"{"name":"a","password":["hunter2"]}"#, Err(("invalid_body", "password")));
        check(r#"{"name":"a\u0000"}"#, Err(("validation", "name")));
        check(r#"{"name":"a","x":{"y":["","\u0000"]}}"#, Err(("validation", "x.y[1]")));
        check(r#"{"name":"a","\u0000":1}"#, Err(("validation", "")));
        check(r#"{"name":"a\\u0000"}"#, Ok(()));
        check(r#"{"name":"a\\\u0000"}"#, Err(("validation", "name")));
    }

    #[test]
    fn content_types() {
        for (value, ok) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/json", false),
            ("text/plain", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let headers =
                [(header::CONTENT_TYPE, HeaderValue::from_str(value).unwrap())].into_iter().collect();
            assert_eq!(is_json(&headers), ok, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn nul_escapes_are_found(text in "[a\\\\u0\"]{0,12}\0?[a\\\\u0]{0,8}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(has_nul_escape(json.as_bytes()), text.contains('\0'));
        }

        #[test]
        fn any_bytes_are_answered(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _outcome = decode::<Body>(&text);
        }
    }
}
