//! Why a stream is not here, why footage is missing, why a run ended.

/// Declares a closed vocabulary with its stable slugs.
macro_rules! slugs {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $slug:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Its stable name on the wire and in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $slug,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($slug => Ok($name::$variant),)+ _ => Err(()) }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use slugs;

slugs! {
    /// What went wrong with a stream; one vocabulary for status, events, test results and gaps.
    ReasonClass {
        /// No usable stream address, unusable scheme or secret.
        Config = "config",
        /// No route, name not resolved.
        Unreachable = "unreachable",
        /// Connection or request refused.
        Refused = "refused",
        /// Credentials rejected.
        Auth = "auth",
        /// The device has no such stream.
        NotFound = "not_found",
        /// No answer in time.
        Timeout = "timeout",
        /// TLS handshake or certificate.
        Tls = "tls",
        /// RTSP, RTP or SDP violation.
        Protocol = "protocol",
        /// The stream carries nothing that can be recorded.
        Codec = "codec",
        /// The camera ended the session.
        Closed = "closed",
        /// Connected, but pictures stopped.
        Stalled = "stalled",
        /// Recording storage full, failing or missing.
        Disk = "disk",
        /// This machine could not keep up.
        Overload = "overload",
        /// None of these.
        Unknown = "unknown",
    }
}

slugs! {
    /// Why wanted footage is missing: a [`ReasonClass`] or one of the causes that are not the camera's.
    Cause {
        /// See [`ReasonClass::Config`].
        Config = "config",
        /// See [`ReasonClass::Unreachable`].
        Unreachable = "unreachable",
        /// See [`ReasonClass::Refused`].
        Refused = "refused",
        /// See [`ReasonClass::Auth`].
        Auth = "auth",
        /// See [`ReasonClass::NotFound`].
        NotFound = "not_found",
        /// See [`ReasonClass::Timeout`].
        Timeout = "timeout",
        /// See [`ReasonClass::Tls`].
        Tls = "tls",
        /// See [`ReasonClass::Protocol`].
        Protocol = "protocol",
        /// See [`ReasonClass::Codec`].
        Codec = "codec",
        /// See [`ReasonClass::Closed`].
        Closed = "closed",
        /// See [`ReasonClass::Stalled`].
        Stalled = "stalled",
        /// See [`ReasonClass::Disk`].
        Disk = "disk",
        /// See [`ReasonClass::Overload`].
        Overload = "overload",
        /// See [`ReasonClass::Unknown`].
        Unknown = "unknown",
        /// Wanted, the first picture not yet there.
        Starting = "starting",
        /// A change had to stop the stream.
        Reconfigured = "reconfigured",
        /// The server was stopped in order.
        ServerStopped = "server_stopped",
        /// The server ended without order.
        ServerCrashed = "server_crashed",
        /// The machine was down.
        HostDown = "host_down",
        /// Bytes on disk failed the check.
        Damaged = "damaged",
        /// Was recorded, then removed by policy.
        Retention = "retention",
        /// Was recorded, then removed by a person.
        Deleted = "deleted",
    }
}

impl From<ReasonClass> for Cause {
    fn from(class: ReasonClass) -> Cause {
        match class {
            ReasonClass::Config => Cause::Config,
            ReasonClass::Unreachable => Cause::Unreachable,
            ReasonClass::Refused => Cause::Refused,
            ReasonClass::Auth => Cause::Auth,
            ReasonClass::NotFound => Cause::NotFound,
            ReasonClass::Timeout => Cause::Timeout,
            ReasonClass::Tls => Cause::Tls,
            ReasonClass::Protocol => Cause::Protocol,
            ReasonClass::Codec => Cause::Codec,
            ReasonClass::Closed => Cause::Closed,
            ReasonClass::Stalled => Cause::Stalled,
            ReasonClass::Disk => Cause::Disk,
            ReasonClass::Overload => Cause::Overload,
            ReasonClass::Unknown => Cause::Unknown,
        }
    }
}

impl Cause {
    /// True for footage that was there and was removed on purpose: no loss an operator should worry about.
    pub fn is_removal(self) -> bool {
        matches!(self, Cause::Retention | Cause::Deleted)
    }
}

slugs! {
    /// Why recording is not wanted at an instant.
    NotWanted {
        /// The camera is switched off.
        CameraDisabled = "camera_disabled",
        /// Its recording is switched off.
        RecordingDisabled = "recording_disabled",
        /// The server records nothing.
        RecorderOff = "recorder_off",
        /// Its schedule has no window open.
        OutsideSchedule = "outside_schedule",
        /// It waits for something to happen.
        AwaitingTrigger = "awaiting_trigger",
    }
}

slugs! {
    /// Why a segment's file ended.
    EndReason {
        /// It reached its length; the run goes on in the next segment.
        Rotated = "rotated",
        /// The codec parameters or the set of tracks changed; the run goes on in the next segment.
        Parameters = "parameters",
        /// The session was lost; the hole's cause stands with the next segment or the gap.
        SessionLost = "session_lost",
        /// A change had to stop the stream.
        Reconfigured = "reconfigured",
        /// Recording stopped being wanted.
        NotWanted = "not_wanted",
        /// Bytes could not be written.
        Disk = "disk",
        /// A step of the host clock ended the run.
        Clock = "clock",
        /// The server was stopped in order.
        ServerStopped = "server_stopped",
        /// The server or the machine went down; sealed at the next start.
        Crashed = "crashed",
    }
}
