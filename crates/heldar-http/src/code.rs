//! The closed vocabulary of what can go wrong, as clients see it.

use axum::http::StatusCode;

/// Declares codes with their slug, status and the sentence that is said when nobody has a better one.
macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $status:literal $slug:literal $text:literal,)+) => {
        /// What went wrong, for programs. A code never changes its meaning, and each has one status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$meta])* $variant,)+ }

        impl Code {
            /// Every code, in declaration order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// Its stable name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $slug,)+ }
            }

            /// The sentence for a person when the place that failed has no better one.
            pub const fn text(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ }
            }

            const fn status_number(self) -> u16 {
                match self { $(Code::$variant => $status,)+ }
            }
        }
    };
}

codes! {
    /// A value in path, query or body that cannot be accepted.
    Validation = 400 "validation" "a value of the request is not acceptable",
    /// The body is not JSON at all.
    InvalidJson = 400 "invalid_json" "the body is not valid JSON",
    /// A query parameter that is missing or cannot be read.
    BadQuery = 400 "bad_query" "the query cannot be read",
    /// A cursor of another list, of other filters, or made up.
    BadCursor = 400 "bad_cursor" "the cursor does not belong to this list and its filters",
    /// Understood, and not offered here.
    NotSupported = 400 "not_supported" "this is not supported",
    /// A grant of wide rights that was not confirmed.
    PrivilegeConfirmationRequired = 400 "privilege_confirmation_required" "privileged rights must be confirmed",
    /// An address that must not be contacted.
    TargetNotAllowed = 400 "target_not_allowed" "this address must not be contacted",
    /// A camera without a usable stream address.
    NoStreamUrl = 400 "no_stream_url" "the camera has no stream address",
    /// A camera that is switched off.
    CameraDisabled = 400 "camera_disabled" "the camera is disabled",
    /// A trigger on a camera that does not wait for one.
    NotArmed = 400 "not_armed" "the camera is not armed",
    /// More time than one request may ask for.
    WindowTooLong = 400 "window_too_long" "the window is too long",
    /// More than the configured limits can hold.
    TooLargeForLimits = 400 "too_large_for_limits" "this does not fit into the configured limits",
    /// No credential, or none that holds.
    Unauthenticated = 401 "unauthenticated" "authentication required",
    /// Not allowed.
    Forbidden = 403 "forbidden" "not allowed",
    /// Nothing has this name.
    NotFound = 404 "not_found" "nothing here",
    /// No picture was recorded in the window.
    NoFootage = 404 "no_footage" "no recorded footage in this window",
    /// The path does not offer the method.
    MethodNotAllowed = 405 "method_not_allowed" "this path does not offer the method",
    /// The viewer plays none of the codecs on offer.
    CodecNotPlayable = 406 "codec_not_playable" "the viewer can play none of the codecs on offer",
    /// Taken already.
    Conflict = 409 "conflict" "resource already exists",
    /// Evidence keeps it from being changed.
    EvidenceHeld = 409 "evidence_held" "held as evidence",
    /// Something else needs it.
    InUse = 409 "in_use" "in use",
    /// A share that has ended.
    Gone = 410 "gone" "this has ended",
    /// `If-Match` or `If-Unmodified-Since` does not hold (RFC 9110 13.1).
    PreconditionFailed = 412 "precondition_failed" "the resource is not in the state the request expects",
    /// More bytes than the route takes.
    TooLarge = 413 "too_large" "the request is too large",
    /// A body of another type than the route takes.
    UnsupportedMediaType = 415 "unsupported_media_type" "the content type is not supported here",
    /// A byte range outside the file.
    RangeNotSatisfiable = 416 "range_not_satisfiable" "the range lies outside the file",
    /// `If-Match` is missing where a change needs it (RFC 6585 3).
    PreconditionRequired = 428 "precondition_required" "the request must say with If-Match what it changes",
    /// JSON with a field that is missing or of the wrong type.
    InvalidBody = 422 "invalid_body" "a field of the body is missing or has the wrong type",
    /// Too many attempts.
    RateLimited = 429 "rate_limited" "too many attempts, try again later",
    /// A defect of the server.
    Internal = 500 "internal" "something went wrong in the server; its log has the cause under this request id",
    /// Local storage failed.
    StorageError = 500 "storage_error" "local storage failed; the log has the cause under this request id",
    /// No route to a device.
    DeviceUnreachable = 502 "device_unreachable" "the device cannot be reached",
    /// The device refuses connection or request.
    DeviceRefused = 502 "device_refused" "the device refused",
    /// The device rejects the credentials.
    DeviceAuth = 502 "device_auth" "the device rejected the credentials",
    /// No TLS session with the device.
    DeviceTls = 502 "device_tls" "the TLS handshake with the device failed",
    /// The device breaks its protocol.
    DeviceProtocol = 502 "device_protocol" "the device broke its protocol",
    /// The device failed otherwise.
    DeviceError = 502 "device_error" "the device failed",
    /// Too much at once; try again soon.
    Busy = 503 "busy" "busy, try again in a moment",
    /// The store cannot be reached.
    StoreUnavailable = 503 "store_unavailable" "the store cannot be reached at the moment",
    /// Not yet ready.
    Starting = 503 "starting" "the server is starting",
    /// Not any more.
    ShuttingDown = 503 "shutting_down" "the server is shutting down",
    /// A backup is being put back.
    Restoring = 503 "restoring" "a backup is being restored",
    /// The device did not answer in time.
    DeviceTimeout = 504 "device_timeout" "the device did not answer in time",
}

impl Code {
    /// Its HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code that speaks for a bare status of a layer that knows nothing better.
    pub(crate) fn of_status(status: StatusCode) -> Code {
        match status.as_u16() {
            401 => Code::Unauthenticated,
            403 => Code::Forbidden,
            404 => Code::NotFound,
            405 => Code::MethodNotAllowed,
            409 => Code::Conflict,
            412 => Code::PreconditionFailed,
            413 | 414 | 431 => Code::TooLarge,
            415 => Code::UnsupportedMediaType,
            416 => Code::RangeNotSatisfiable,
            422 => Code::InvalidBody,
            429 => Code::RateLimited,
            503 => Code::Busy,
            400..=499 => Code::Validation,
            _ => Code::Internal,
        }
    }
}

/// Declares the finer reasons.
macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $slug:literal,)+) => {
        /// The finer reason behind a [`Code`]. May grow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$meta])* $variant,)+ }

        impl Reason {
            /// Its stable name on the wire and in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $slug,)+ }
            }
        }
    };
}

reasons! {
    /// No credential was sent.
    NoCredential = "no_credential",
    /// A credential was sent and does not hold.
    InvalidCredential = "invalid_credential",
    /// Name and password do not sign in.
    SignInFailed = "sign_in_failed",
    /// The principal lacks a capability.
    MissingCapability = "missing_capability",
    /// A camera outside the scope.
    OutOfScope = "out_of_scope",
    /// A route of the whole box, asked by a principal that is limited to cameras.
    FleetOnly = "fleet_only",
    /// A key used from an address that it is not valid for.
    AddressNotAllowed = "address_not_allowed",
    /// The account must choose a new password first.
    PasswordChangeRequired = "password_change_required",
    /// A page of another origin acts on a cookie or on open access.
    OriginNotAllowed = "origin_not_allowed",
    /// Access control is off and the request does not count as local.
    OpenAccessRefused = "open_access_refused",
    /// The database is over its cap.
    DbOverCap = "db_over_cap",
    /// Footage has a hole there.
    Gap = "gap",
    /// Nothing was recorded then.
    NotRecorded = "not_recorded",
    /// Its footage has been deleted.
    Expired = "expired",
    /// It has not been received yet.
    Future = "future",
    /// No AI task asks for frames of this stream.
    NoTask = "no_task",
    /// No frame has come yet.
    Starting = "starting",
    /// The budget of sampling has no room.
    Shed = "shed",
    /// The camera has no such stream.
    NoSource = "no_source",
    /// The source has stopped.
    Stale = "stale",
    /// It is not held any more.
    Evicted = "evicted",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_every_code_is_an_error() {
        let slugs: BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(slugs.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert_eq!(code.status().as_u16(), code.status_number(), "{code:?}");
        }
    }

    #[test]
    fn a_bare_status_finds_a_code_of_its_own_class() {
        for number in 400..600 {
            let status = StatusCode::from_u16(number).unwrap();
            let code = Code::of_status(status);
            assert_eq!(code.status().is_client_error(), status.is_client_error(), "{number}");
        }
    }
}
