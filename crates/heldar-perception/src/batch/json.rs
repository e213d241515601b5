//! JSON that the server keeps without looking into it: copied to compact text while it is read, so that no tree of it is
//! ever built. A tree may take twenty times the memory of its text.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::provenance::SOURCE_KEYS;
use super::{BboxBody, DetectionBody, Detections, MAX_DETECTIONS};

/// Any JSON, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = Vec::new();
        Copy(&mut out).deserialize(deserializer)?;
        text(out).map(JsonText)
    }
}

/// Attributes of a detection as the worker sent them, without the keys of provenance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAttributes {
    /// Text of a JSON object; `None` for an empty one. What is no object stands under `_client`.
    pub text: Option<String>,
    /// They claimed a source other than the worker.
    pub forged_source: bool,
}

impl<'de> Deserialize<'de> for ClientAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttributesVisitor)
    }
}

fn text<E: de::Error>(out: Vec<u8>) -> Result<String, E> {
    String::from_utf8(out).map_err(E::custom)
}

/// Writes a scalar as JSON.
fn put<T: Serialize + ?Sized, E: de::Error>(out: &mut Vec<u8>, value: &T) -> Result<(), E> {
    serde_json::to_writer(out, value).map_err(E::custom)
}

/// Copies the next value to the text.
struct Copy<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Copy<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Copy<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<(), E> {
        put(self.0, &v)
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<(), E> {
        put(self.0, &v)
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<(), E> {
        put(self.0, &v)
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<(), E> {
        put(self.0, &v)
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<(), E> {
        put(self.0, v)
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        put(self.0, &())
    }
    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        put(self.0, &())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        let mut first = true;
        loop {
            let before = self.0.len();
            if !first {
                self.0.push(b',');
            }
            if seq.next_element_seed(Copy(self.0))?.is_none() {
                self.0.truncate(before);
                break;
            }
            first = false;
        }
        self.0.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        copy_map(self.0, map, |_, _| Ok(false))
    }
}

/// Copies an object but for the keys that `take` takes, together with their values.
fn copy_map<'de, A: MapAccess<'de>>(
    out: &mut Vec<u8>,
    mut map: A,
    mut take: impl FnMut(&str, &mut A) -> Result<bool, A::Error>,
) -> Result<(), A::Error> {
    out.push(b'{');
    let mut first = true;
    while let Some(key) = map.next_key::<String>()? {
        if take(&key, &mut map)? {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        put(out, &key)?;
        out.push(b':');
        map.next_value_seed(Copy(out))?;
    }
    out.push(b'}');
    Ok(())
}

struct AttributesVisitor;

impl AttributesVisitor {
    fn wrapped<E: de::Error>(copy: impl FnOnce(Copy<'_>) -> Result<(), E>) -> Result<ClientAttributes, E> {
        let mut out = b"{\"_client\":".to_vec();
        copy(Copy(&mut out))?;
        out.push(b'}');
        Ok(ClientAttributes { text: Some(text(out)?), forged_source: false })
    }
}

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = ClientAttributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<ClientAttributes, E> {
        Self::wrapped(|copy| copy.visit_bool(v))
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<ClientAttributes, E> {
        Self::wrapped(|copy| copy.visit_i64(v))
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<ClientAttributes, E> {
        Self::wrapped(|copy| copy.visit_u64(v))
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<ClientAttributes, E> {
        Self::wrapped(|copy| copy.visit_f64(v))
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<ClientAttributes, E> {
        Self::wrapped(|copy| copy.visit_str(v))
    }
    fn visit_unit<E: de::Error>(self) -> Result<ClientAttributes, E> {
        Ok(ClientAttributes::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ClientAttributes, A::Error> {
        Self::wrapped(|copy| copy.visit_seq(seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClientAttributes, A::Error> {
        let mut out = Vec::new();
        let mut forged_source = false;
        copy_map(&mut out, map, |key, map| {
            if !SOURCE_KEYS.contains(&key) {
                return Ok(false);
            }
            if key == "source" {
                let claim: JsonText = map.next_value()?;
                forged_source |= claim.as_str() != "\"worker\"";
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            Ok(true)
        })?;
        let text = if out == b"{}" { None } else { Some(text(out)?) };
        Ok(ClientAttributes { text, forged_source })
    }
}

impl<'de> Deserialize<'de> for Detections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(DetectionsVisitor)
    }
}

struct DetectionsVisitor;

impl<'de> Visitor<'de> for DetectionsVisitor {
    type Value = Detections;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of detections")
    }
    fn visit_none<E: de::Error>(self) -> Result<Detections, E> {
        Ok(Detections::default())
    }
    fn visit_unit<E: de::Error>(self) -> Result<Detections, E> {
        Ok(Detections::default())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Detections, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Detections, A::Error> {
        let mut all = Detections::default();
        while all.count <= MAX_DETECTIONS {
            let Some(next) = seq.next_element::<DetectionBody>()? else { return Ok(all) };
            all.count += 1;
            all.kept.push(next);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            all.count += 1;
        }
        Ok(all)
    }
}

impl<'de> Deserialize<'de> for BboxBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BboxVisitor)
    }
}

struct BboxVisitor;

impl<'de> Visitor<'de> for BboxVisitor {
    type Value = BboxBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of four numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<BboxBody, A::Error> {
        let mut bbox = BboxBody::default();
        while let Some(number) = seq.next_element::<f64>()? {
            if let Some(place) = bbox.first.get_mut(bbox.count) {
                *place = number;
            }
            bbox.count += 1;
        }
        Ok(bbox)
    }
}
