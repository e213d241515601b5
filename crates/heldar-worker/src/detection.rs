//! What a handler gives back: detections, and now and then an event.
//!
//! Owns: the form in which they are posted, and the checks that make a result acceptable to any server. Never: a network
//! call.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// Most detections of one post.
pub const MAX_DETECTIONS: usize = 1000;
/// Most characters of a label or a track id.
const TEXT_LIMIT: usize = 256;
/// Boxes may stick out this far before they count as a mistake; what sticks out is cut.
const SLACK: f64 = 0.01;
/// Rounding in a model's arithmetic is no mistake of its author.
const CONFIDENCE_SLACK: f64 = 1e-3;

/// One thing seen in one frame. What it holds is checked when the handler returns; a value that no server would take makes
/// the whole result an error of the handler.
///
/// ```
/// use heldar_worker::Detection;
/// let car = Detection::new("car").confidence(0.92).bbox([0.1, 0.2, 0.3, 0.25]).track_id("17").attribute("doors", 4);
/// assert!(car.check().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Detection {
    /// What it is, up to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How sure, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Where: `[x, y, w, h]` as fractions 0..=1 of the picture, (x, y) the top-left corner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bbox: Option<[f64; 4]>,
    /// The object it belongs to across frames, up to 256 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_id: Option<String>,
    /// Anything else. The keys `source` and `_prov` belong to the server, which replaces them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
}

impl Detection {
    /// One of a kind.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..Self::default() }
    }

    /// How sure, 0..=1.
    #[must_use]
    pub fn confidence(mut self, confidence: impl Into<f64>) -> Self {
        self.confidence = Some(confidence.into());
        self
    }

    /// Where: `[x, y, w, h]` as fractions 0..=1 of the picture, (x, y) the top-left corner.
    #[must_use]
    pub fn bbox(mut self, bbox: [impl Into<f64>; 4]) -> Self {
        self.bbox = Some(bbox.map(Into::into));
        self
    }

    /// Where, from `[x, y, w, h]` in pixels of a picture of `size` (width, height). What sticks out of the picture is cut.
    #[must_use]
    pub fn bbox_in_pixels(self, bbox: [impl Into<f64>; 4], size: (u32, u32)) -> Self {
        let [x, y, w, h] = bbox.map(Into::into);
        let (width, height) = (f64::from(size.0), f64::from(size.1));
        if w < 0.0 || h < 0.0 || width == 0.0 || height == 0.0 {
            // Left as wrong as it is, for the check to name.
            return self.bbox([x / width, y / height, w / width, h / height]);
        }
        let [left, right] = [x / width, (x + w) / width].map(|edge| edge.clamp(0.0, 1.0));
        let [top, bottom] = [y / height, (y + h) / height].map(|edge| edge.clamp(0.0, 1.0));
        self.bbox([left, top, right - left, bottom - top])
    }

    /// The object it belongs to across frames.
    #[must_use]
    pub fn track_id(mut self, track_id: impl Into<String>) -> Self {
        self.track_id = Some(track_id.into());
        self
    }

    /// Adds or replaces an attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Whether a server would take it.
    ///
    /// # Errors
    /// Names the field and what is wrong with it.
    pub fn check(&self) -> Result<(), InvalidFindings> {
        self.clone().checked().map(|_| ())
    }

    /// With its box and confidence within 0..=1 and rounded to six digits.
    fn checked(mut self) -> Result<Self, InvalidFindings> {
        for (field, text) in [("label", &self.label), ("track_id", &self.track_id)] {
            if text.as_ref().is_some_and(|text| text.chars().count() > TEXT_LIMIT) {
                return Err(InvalidFindings::new(format!("{field}: longer than {TEXT_LIMIT} characters")));
            }
        }
        if let Some(confidence) = &mut self.confidence {
            // Written so that NaN is outside.
            if !(-CONFIDENCE_SLACK..=1.0 + CONFIDENCE_SLACK).contains(confidence) {
                return Err(InvalidFindings::new(format!("confidence: {confidence} is not within 0..1")));
            }
            *confidence = rounded(confidence.clamp(0.0, 1.0));
        }
        if let Some(bbox) = &mut self.bbox {
            *bbox = checked_box(*bbox).map_err(InvalidFindings::new)?;
        }
        Ok(self)
    }
}

fn checked_box(bbox: [f64; 4]) -> Result<[f64; 4], String> {
    let [x, y, w, h] = bbox;
    if !bbox.iter().all(|value| value.is_finite()) {
        return Err(format!("bbox: four finite numbers are expected, not {bbox:?}"));
    }
    if w < 0.0 || h < 0.0 {
        return Err(format!("bbox: negative size in {bbox:?}"));
    }
    if x.min(y) < -SLACK || (x + w).max(y + h) > 1.0 + SLACK {
        return Err(format!("bbox: {bbox:?} lies outside 0..1; is it in pixels? use bbox_in_pixels"));
    }
    let (left, top) = (x.clamp(0.0, 1.0), y.clamp(0.0, 1.0));
    let (right, bottom) = ((x + w).clamp(left, 1.0), (y + h).clamp(top, 1.0));
    Ok([left, top, right - left, bottom - top].map(rounded))
}

fn rounded(fraction: f64) -> f64 {
    (fraction * 1e6).round() / 1e6
}

/// How urgent an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    #[default]
    Info,
    /// Somebody should look.
    Warning,
}

/// Something people should be told of. Rare: raise one when something begins, not for every frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Its type: 1..=64 of `a-z`, `0-9` and `_`. The server's own prefixes (`gate_`, `entry_`, `zone_`, `camera_`, `disk_`,
    /// `raid_`) are not for workers.
    pub event_type: String,
    /// How urgent.
    pub severity: Severity,
    /// Any JSON.
    pub payload: Value,
}

impl Event {
    /// One of severity `info` with an empty payload.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), severity: Severity::Info, payload: Value::Object(Map::new()) }
    }

    /// With another severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// With a payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Value>) -> Self {
        self.payload = payload.into();
        self
    }

    fn check(&self) -> Result<(), InvalidFindings> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let length = (1..=64).contains(&self.event_type.len());
        if length && self.event_type.bytes().all(allowed) {
            return Ok(());
        }
        let why = format!("event_type: {:?} is not 1 to 64 of a-z, 0-9 and _", self.event_type);
        Err(InvalidFindings::new(why))
    }
}

/// What was found in one frame. A handler without events gives back detections alone: a `Vec`, an array, an `Option`, one
/// [`Detection`], or `()` for none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// The detections. Of more than 1000 the most confident 1000 are posted. None is a result too: it tells the server that
    /// somebody looked.
    pub detections: Vec<Detection>,
    /// What people should be told of.
    pub event: Option<Event>,
}

impl Findings {
    /// With an event.
    #[must_use]
    pub fn event(mut self, event: Event) -> Self {
        self.event = Some(event);
        self
    }

    /// As a server takes it, and how many detections were cut off.
    pub(crate) fn checked(self) -> Result<(Self, usize), InvalidFindings> {
        let mut detections = Vec::with_capacity(self.detections.len());
        for (index, detection) in self.detections.into_iter().enumerate() {
            let named = |error: InvalidFindings| InvalidFindings::new(format!("detections[{index}].{error}"));
            detections.push(detection.checked().map_err(named)?);
        }
        if let Some(event) = &self.event {
            event.check()?;
        }
        let cut = detections.len().saturating_sub(MAX_DETECTIONS);
        if cut > 0 {
            // Stable: among equals the first stay.
            detections.sort_by(|a, b| b.confidence.unwrap_or(0.0).total_cmp(&a.confidence.unwrap_or(0.0)));
            detections.truncate(MAX_DETECTIONS);
        }
        Ok((Self { detections, event: self.event }, cut))
    }
}

impl From<Vec<Detection>> for Findings {
    fn from(detections: Vec<Detection>) -> Self {
        Self { detections, event: None }
    }
}

impl<const N: usize> From<[Detection; N]> for Findings {
    fn from(detections: [Detection; N]) -> Self {
        Vec::from(detections).into()
    }
}

impl From<Option<Detection>> for Findings {
    fn from(detection: Option<Detection>) -> Self {
        Vec::from_iter(detection).into()
    }
}

impl From<Detection> for Findings {
    fn from(detection: Detection) -> Self {
        vec![detection].into()
    }
}

impl From<()> for Findings {
    fn from((): ()) -> Self {
        Self::default()
    }
}

/// A result that no server would take; the text names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFindings(String);

impl InvalidFindings {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for InvalidFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidFindings {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn refused(detection: Detection, hint: &str) {
        let told = Findings::from(vec![Detection::new("good"), detection]).checked().unwrap_err().to_string();
        assert!(told.starts_with("detections[1].") && told.contains(hint), "{told}");
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        refused(Detection::new("x").bbox([10, 20, 30, 40]), "bbox_in_pixels");
        refused(Detection::new("x").bbox([0.5, 0.5, -0.1, 0.1]), "negative size");
        refused(Detection::new("x").bbox([0.5, f64::NAN, 0.1, 0.1]), "finite");
        refused(Detection::new("x").confidence(97), "97 is not within 0..1");
        refused(Detection::new("x").confidence(f64::NAN), "NaN");
        refused(Detection::new("x".repeat(257)), "label: longer than 256");
        refused(Detection::new("x").track_id("x".repeat(257)), "track_id");
    }

    #[test]
    fn events_have_a_type_that_servers_take() {
        for wrong in ["", "Motion", "motion!", &"x".repeat(65)] {
            let told = Findings::default().event(Event::new(wrong)).checked().unwrap_err().to_string();
            assert!(told.starts_with("event_type"), "{told}");
        }
        assert!(Findings::default().event(Event::new("queue_3_full")).checked().is_ok());
    }

    #[test]
    fn absent_fields_are_left_out() {
        let found =
            Findings::from(Detection::new("motion").confidence(0.9_f32).bbox([-0.005, 0.5, 0.5, 0.505]));
        let found = found.checked().unwrap().0;
        let expected = json!({"label": "motion", "confidence": 0.9, "bbox": [0.0, 0.5, 0.495, 0.5]});
        assert_eq!(serde_json::to_value(&found.detections[0]).unwrap(), expected);
        let event = Event::new("motion").severity(Severity::Warning).payload(json!({"door": 2}));
        let expected = json!({"event_type": "motion", "severity": "warning", "payload": {"door": 2}});
        assert_eq!(serde_json::to_value(event).unwrap(), expected);
    }

    #[test]
    fn pixels_become_fractions() {
        let inside = Detection::new("x").bbox_in_pixels([64, 36, 128, 72], (640, 360));
        let (found, _) = Findings::from(inside).checked().unwrap();
        assert_eq!(found.detections[0].bbox, Some([0.1, 0.1, 0.2, 0.2]));
        let beyond = Detection::new("x").bbox_in_pixels([-10.0, 300.0, 1000.0, 1000.0], (640, 360));
        assert!(beyond.check().is_ok(), "{beyond:?}");
        refused(Detection::new("x").bbox_in_pixels([1, 1, 1, 1], (0, 0)), "finite");
        refused(Detection::new("x").bbox_in_pixels([-9, -9, -5, 3], (640, 360)), "negative size");
    }

    #[test]
    fn the_most_confident_thousand_stay() {
        let many = (0..1500).map(|n| Detection::new(n.to_string()).confidence(f64::from(n) / 1500.0));
        let (found, cut) = Findings::from(many.collect::<Vec<_>>()).checked().unwrap();
        assert_eq!((found.detections.len(), cut), (MAX_DETECTIONS, 500));
        assert_eq!(found.detections[0].label.as_deref(), Some("1499"));
        assert_eq!(found.detections[999].label.as_deref(), Some("500"));
    }

    proptest! {
        #[test]
        fn whatever_passes_lies_within_the_picture(bbox in proptest::array::uniform4(-0.2..1.2f64)) {
            if let Ok((found, _)) = Findings::from(Detection::new("x").bbox(bbox)).checked() {
                let [x, y, w, h] = found.detections[0].bbox.unwrap();
                prop_assert!(x >= 0.0 && y >= 0.0 && w >= 0.0 && h >= 0.0);
                prop_assert!(x + w <= 1.0 + 1e-6 && y + h <= 1.0 + 1e-6);
            }
        }
    }
}
