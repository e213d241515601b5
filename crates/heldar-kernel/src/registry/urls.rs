//! The URLs of a camera as far as its secrets can be opened.

use heldar_base::{Secret, StreamKind};
use heldar_store::Camera;

use crate::address::{self, Whereabouts};
use crate::kernel::Kernel;

/// Table name under which camera secrets are sealed.
pub(super) const TABLE: &str = "camera";

/// The URLs of a camera with their userinfo. An override that cannot be opened gives none, a password that cannot be
/// opened one without password.
#[derive(Clone, Debug)]
pub struct CameraUrls {
    /// Of the main stream.
    pub main: Option<Secret<String>>,
    /// Of the sub stream.
    pub sub: Option<Secret<String>>,
    /// Template of the device's replay.
    pub replay: Option<Secret<String>>,
}

impl CameraUrls {
    /// That of a stream.
    pub fn of(&self, kind: StreamKind) -> Option<&Secret<String>> {
        match kind {
            StreamKind::Main => self.main.as_ref(),
            StreamKind::Sub => self.sub.as_ref(),
        }
    }
}

/// A stored secret, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// There is none.
    Nothing,
    /// This.
    Value(Secret<String>),
    /// No key opens it.
    Unreadable,
}

impl Opened {
    /// The value, if there is a readable one.
    pub(super) fn value(&self) -> Option<&Secret<String>> {
        match self {
            Opened::Value(value) => Some(value),
            Opened::Nothing | Opened::Unreadable => None,
        }
    }
}

impl Kernel {
    /// Opens one secret of a camera.
    pub(super) fn opened(&self, camera: &str, column: &str, stored: Option<&Secret<String>>) -> Opened {
        match stored.map(|stored| self.sealer.open_value(TABLE, column, camera, stored)) {
            None => Opened::Nothing,
            Some(Ok(value)) => Opened::Value(value),
            Some(Err(_)) => Opened::Unreadable,
        }
    }

    /// Where the streams of a camera are.
    pub fn urls(&self, camera: &Camera) -> CameraUrls {
        let fields = &camera.fields;
        let open = |column, stored| self.opened(camera.id.as_str(), column, stored);
        let main = open("main_stream_url", fields.main_stream_url.as_ref());
        let sub = open("sub_stream_url", fields.sub_stream_url.as_ref());
        let at = Whereabouts {
            vendor: fields.vendor.clone(),
            address: fields.address.clone(),
            port: fields.rtsp_port,
            channel: fields.channel,
            username: fields.username.clone(),
            password: open("password", fields.password.as_ref()).value().cloned(),
            main_url: main.value().cloned(),
            sub_url: sub.value().cloned(),
        };
        let url = |kind, stored: &Opened| match stored {
            // What was meant is not known; the template would be something else.
            Opened::Unreadable => None,
            Opened::Nothing | Opened::Value(_) => address::stream_url(&at, kind, &self.templates),
        };
        CameraUrls {
            main: url(StreamKind::Main, &main),
            sub: url(StreamKind::Sub, &sub),
            replay: open("anr_replay_url_template", fields.anr_replay_url_template.as_ref()).value().cloned(),
        }
    }
}
