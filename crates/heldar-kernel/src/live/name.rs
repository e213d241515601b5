//! Names of live views: `cam_<camera>`, with `.main` or `.sub` behind when that stream is asked for.

use std::fmt;

use heldar_base::{CameraId, StreamKind};

/// What a name asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LiveName {
    /// Whose pictures.
    pub camera: CameraId,
    /// Which; `None`: the small ones where there are any.
    pub kind: Option<StreamKind>,
}

impl LiveName {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("cam_")?;
        let (camera, kind) = match text.split_once('.') {
            Some((camera, kind)) => (camera, Some(kind.parse().ok()?)),
            None => (text, None),
        };
        Some(LiveName { camera: CameraId::new(camera).ok()?, kind })
    }
}

impl fmt::Display for LiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cam_{}", self.camera)?;
        self.kind.map_or(Ok(()), |kind| write!(f, ".{}", kind.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["cam_gate", "cam_gate.main", "cam_a_b.sub", "cam_cam_1"] {
            assert_eq!(LiveName::parse(text).map(|name| name.to_string()).as_deref(), Some(text));
        }
        for text in
            ["gate", "cam_", "cam_gate.", "cam_gate.third", "cam_gate.main.sub", "cam_../x", "cam_Gate"]
        {
            assert_eq!(LiveName::parse(text), None, "{text}");
        }
    }
}
