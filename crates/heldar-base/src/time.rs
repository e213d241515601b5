//! Points and lengths of time.
//!
//! Two clocks exist and their readings never mix: [`WallTime`] (UTC, may step) and [`MonoTime`] (never steps, means
//! nothing outside the process). Both count whole microseconds, so that sums of intervals are exact.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in whole microseconds; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// No time at all.
    pub const ZERO: Micros = Micros(0);
    /// The longest length, used as "never".
    pub const MAX: Micros = Micros(i64::MAX);

    /// From whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Micros(secs.saturating_mul(1_000_000))
    }

    /// From whole milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Micros(millis.saturating_mul(1_000))
    }

    /// From whole hours.
    pub const fn from_hours(hours: i64) -> Self {
        Micros(hours.saturating_mul(3_600_000_000))
    }

    /// As seconds; exact to the microsecond for lengths below 285 years.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// As a standard duration; negative lengths become zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.max(0).unsigned_abs())
    }

    /// From a standard duration, saturating.
    pub fn from_std(duration: std::time::Duration) -> Self {
        Micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }

    /// Without its sign.
    pub const fn abs(self) -> Self {
        Micros(self.0.saturating_abs())
    }

    /// This length in ticks of `timescale` per second, rounded to the nearest tick.
    pub fn to_ticks(self, timescale: u32) -> i64 {
        let scaled = i128::from(self.0) * i128::from(timescale);
        let half = if scaled >= 0 { 500_000 } else { -500_000 };
        i64::try_from((scaled + half) / 1_000_000).unwrap_or(if scaled > 0 { i64::MAX } else { i64::MIN })
    }

    /// The length of `ticks` of `timescale` per second, rounded to the nearest microsecond.
    pub fn from_ticks(ticks: i64, timescale: u32) -> Self {
        let scaled = i128::from(ticks) * 1_000_000;
        let ts = i128::from(timescale.max(1));
        let half = if scaled >= 0 { ts / 2 } else { -(ts / 2) };
        Micros(i64::try_from((scaled + half) / ts).unwrap_or(i64::MAX))
    }
}

impl Add for Micros {
    type Output = Micros;
    fn add(self, rhs: Micros) -> Micros {
        Micros(self.0.saturating_add(rhs.0))
    }
}
impl AddAssign for Micros {
    fn add_assign(&mut self, rhs: Micros) {
        *self = *self + rhs;
    }
}
impl Sub for Micros {
    type Output = Micros;
    fn sub(self, rhs: Micros) -> Micros {
        Micros(self.0.saturating_sub(rhs.0))
    }
}
impl SubAssign for Micros {
    fn sub_assign(&mut self, rhs: Micros) {
        *self = *self - rhs;
    }
}
impl Neg for Micros {
    type Output = Micros;
    fn neg(self) -> Micros {
        Micros(self.0.saturating_neg())
    }
}
impl std::iter::Sum for Micros {
    fn sum<I: Iterator<Item = Micros>>(iter: I) -> Micros {
        iter.fold(Micros::ZERO, Add::add)
    }
}

/// A point in UTC, in microseconds since 1970-01-01T00:00:00Z (no leap seconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

/// A reading of the monotonic clock, in microseconds since an origin that is fixed for the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoTime(pub i64);

macro_rules! point_arithmetic {
    ($point:ty) => {
        impl Add<Micros> for $point {
            type Output = $point;
            fn add(self, rhs: Micros) -> $point {
                Self(self.0.saturating_add(rhs.0))
            }
        }
        impl Sub<Micros> for $point {
            type Output = $point;
            fn sub(self, rhs: Micros) -> $point {
                Self(self.0.saturating_sub(rhs.0))
            }
        }
        impl Sub for $point {
            type Output = Micros;
            fn sub(self, rhs: $point) -> Micros {
                Micros(self.0.saturating_sub(rhs.0))
            }
        }
    };
}
point_arithmetic!(WallTime);
point_arithmetic!(MonoTime);

/// Text that is not a point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an RFC 3339 time, for example 2026-01-31T12:00:00Z")]
pub struct TimeError(pub String);

/// First instant that is accepted: year 1970.
const MIN_US: i64 = 0;
/// First instant past those accepted: year 9999 is left out so that sums stay in range.
const MAX_US: i64 = 253_370_764_800_000_000;

impl WallTime {
    /// 1970-01-01T00:00:00Z, also the start of "all time".
    pub const EPOCH: WallTime = WallTime(0);
    /// Past every real instant: the end of "all time".
    pub const FAR_FUTURE: WallTime = WallTime(MAX_US);

    /// Parses RFC 3339 with any offset. A `+` of the offset that a query string turned into a space is understood. What
    /// lies before 1970 or behind 9998 becomes the nearest instant that does not: people write such years for "no bound".
    ///
    /// # Errors
    /// Text of another form.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let fail = || TimeError(text.chars().take(64).collect());
        let trimmed = text.trim();
        let fixed;
        let candidate = match trimmed.rfind(' ') {
            // `2026-01-31T12:00:00 02:00`: the space stands where the offset's sign was.
            Some(at)
                if trimmed.len() - at == 6 && trimmed.as_bytes().get(at + 3) == Some(&b':') && at > 11 =>
            {
                fixed = format!("{}+{}", &trimmed[..at], &trimmed[at + 1..]);
                fixed.as_str()
            }
            _ => trimmed,
        };
        // RFC 3339 5.6: date and time are separated, an offset is mandatory.
        let bytes = candidate.as_bytes();
        if bytes.len() < 20 || !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) || bytes.contains(&b'[') {
            return Err(fail());
        }
        let stamp = jiff::Timestamp::from_str(candidate).map_err(|_| fail())?;
        Ok(WallTime(stamp.as_microsecond().clamp(MIN_US, MAX_US - 1)))
    }

    /// Calendar fields in UTC: year, month, day, hour, minute, second.
    pub fn civil(self) -> (i16, i8, i8, i8, i8, i8) {
        let stamp = jiff::Timestamp::from_microsecond(self.0.clamp(MIN_US, MAX_US)).unwrap_or_default();
        let dt = jiff::tz::Offset::UTC.to_datetime(stamp);
        (dt.year(), dt.month(), dt.day(), dt.hour(), dt.minute(), dt.second())
    }

    /// The instant of calendar fields in UTC; `None` if no such instant exists.
    pub fn from_civil(year: i16, month: i8, day: i8, hour: i8, minute: i8, second: i8) -> Option<Self> {
        let dt = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let stamp = jiff::tz::Offset::UTC.to_timestamp(dt).ok()?;
        Some(WallTime(stamp.as_microsecond()))
    }

    /// The whole second this instant lies in.
    pub fn floor_second(self) -> WallTime {
        WallTime(self.0.div_euclid(1_000_000) * 1_000_000)
    }
}

impl fmt::Display for WallTime {
    /// RFC 3339 in UTC with `Z`; microseconds only where they are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        let frac = self.0.rem_euclid(1_000_000);
        if frac != 0 {
            let text = format!("{frac:06}");
            write!(f, ".{}", text.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        WallTime::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Micros {
    /// As seconds, a JSON number with at most six decimals.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1_000_000 == 0 {
            serializer.serialize_i64(self.0 / 1_000_000)
        } else {
            serializer.serialize_f64(self.as_secs_f64())
        }
    }
}

/// A half-open stretch of UTC, `[start, end)`; `start <= end` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Interval {
    /// First instant inside.
    pub start: WallTime,
    /// First instant after.
    pub end: WallTime,
}

impl Interval {
    /// All time that the system can speak of.
    pub const ALL: Interval = Interval { start: WallTime::EPOCH, end: WallTime::FAR_FUTURE };

    /// The interval, or an empty one at `start` when `end` lies before it.
    pub fn new(start: WallTime, end: WallTime) -> Self {
        Interval { start, end: end.max(start) }
    }

    /// Its length.
    pub fn len(&self) -> Micros {
        self.end - self.start
    }

    /// True when no instant lies inside.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// True when `at` lies inside.
    pub fn contains(&self, at: WallTime) -> bool {
        self.start <= at && at < self.end
    }

    /// What both share; `None` when that is empty.
    pub fn intersect(&self, other: &Interval) -> Option<Interval> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Interval { start, end })
    }

    /// True when both share an instant.
    pub fn overlaps(&self, other: &Interval) -> bool {
        self.intersect(other).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: Option<&str>) {
        let got = WallTime::parse(text).ok().map(|t| t.to_string());
        assert_eq!(got.as_deref(), expect, "{text}");
    }

    #[test]
    fn rfc3339_forms() {
        check("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00Z"));
        check("2026-01-31T12:00:00.5Z", Some("2026-01-31T12:00:00.5Z"));
        check("2026-01-31T12:00:00.123456789Z", Some("2026-01-31T12:00:00.123456Z"));
        check("2026-01-31T12:00:00+02:00", Some("2026-01-31T10:00:00Z"));
        check("2026-01-31T12:00:00 02:00", Some("2026-01-31T10:00:00Z"));
        check("2026-01-31T12:00:00-02:30", Some("2026-01-31T14:30:00Z"));
        check("2026-01-31T12:00:00", None);
        check("2026-01-31", None);
        check("1769860800", None);
        check("", None);
        check("1969-12-31T23:59:59Z", Some("1970-01-01T00:00:00Z"));
        check("0001-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z"));
        check("9999-12-30T22:00:00Z", Some("9998-12-31T23:59:59.999999Z"));
        check("2026-02-30T00:00:00Z", None);
        check("2026-01-31T12:00:00+02:00[Europe/Berlin]", None);
    }

    proptest! {
        #[test]
        fn text_round_trips(us in MIN_US..MAX_US) {
            prop_assert_eq!(WallTime::parse(&WallTime(us).to_string()), Ok(WallTime(us)));
        }

        #[test]
        fn parse_never_panics(text in ".{0,40}") {
            let _outcome = WallTime::parse(&text);
        }

        #[test]
        fn ticks_round_trip(ticks in -1_000_000_000_000i64..1_000_000_000_000, scale in 1u32..=1_000_000) {
            prop_assert_eq!(Micros::from_ticks(ticks, scale).to_ticks(scale), ticks);
        }
    }
}
