//! Single pictures: snapshots, exact pictures of an instant, thumbnails of a window.

mod picture;
mod snapshot;
mod thumbnails;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use heldar_base::ReasonClass;
use heldar_decode::StillError;
use heldar_decode::wire::Image;
use heldar_http::{ApiError, Code, RouteTable};

use super::{Api, errors};
use crate::stills::{LiveStillError, ShotError};

/// Group of these operations in the description.
const TAG: &str = "pictures";
/// Quality of the JPEGs that are made.
const QUALITY: u8 = 90;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    snapshot::routes(table);
    picture::routes(table);
    thumbnails::routes(table);
}

/// The answer for a picture that there is not.
fn shot_error(error: ShotError) -> ApiError {
    match error {
        ShotError::NoFootage(_) => ApiError::new(Code::NoFootage, "nothing was recorded at this instant"),
        ShotError::NoSlot => {
            ApiError::new(Code::Busy, "every slot for media jobs is taken, try again").with_retry_after(5)
        }
        ShotError::Footage(error) => errors::footage(error),
        ShotError::Decode(StillError::Malformed(why)) => {
            ApiError::new(Code::StorageError, "the picture cannot be decoded: its footage is damaged")
                .with_cause(why)
        }
        ShotError::Decode(error) => ApiError::new(Code::Busy, "pictures cannot be decoded at the moment")
            .with_retry_after(2)
            .with_cause(error),
    }
}

/// The answer for a live picture that there is not.
fn live_error(error: LiveStillError) -> ApiError {
    let code = match &error {
        LiveStillError::NotWatchable(crate::live::NotWatchable::Disabled) => Code::CameraDisabled,
        LiveStillError::NotWatchable(crate::live::NotWatchable::NoStreamUrl) => Code::NoStreamUrl,
        LiveStillError::Camera(_) => match error.reason() {
            Some(ReasonClass::Config) => Code::NoStreamUrl,
            Some(ReasonClass::Unreachable) => Code::DeviceUnreachable,
            Some(ReasonClass::Refused) => Code::DeviceRefused,
            Some(ReasonClass::Auth) => Code::DeviceAuth,
            Some(ReasonClass::Tls) => Code::DeviceTls,
            Some(ReasonClass::Protocol | ReasonClass::Codec) => Code::DeviceProtocol,
            Some(ReasonClass::NotFound | ReasonClass::Closed) => Code::DeviceError,
            _ => Code::DeviceTimeout,
        },
        LiveStillError::Shot(_) => {
            let LiveStillError::Shot(error) = error else { return ApiError::of(Code::Internal) };
            return match error {
                ShotError::Decode(StillError::Malformed(why)) => {
                    ApiError::new(Code::DeviceProtocol, "the camera's picture cannot be decoded")
                        .with_cause(why)
                }
                error => shot_error(error),
            };
        }
    };
    ApiError::of(code).with_cause(error)
}

/// A width asked for, brought within the bounds that are told; 0 leaves pictures as they are.
fn width(asked: Option<i64>, least: u16, most: u16) -> u16 {
    asked.map_or(0, |width| u16::try_from(width.clamp(least.into(), most.into())).unwrap_or(most))
}

/// A JPEG that is not to be kept.
fn jpeg(image: Image, headers: HeaderMap) -> Response {
    let mut response = image.data.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    out.extend(headers);
    response
}

/// A header of plain text.
fn text(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
