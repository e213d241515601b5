//! Values bound to `$n`.

use heldar_base::{CameraId, PublicId, SiteId, WallTime};

/// A bound value: the types that columns have, each with its null, and columns of many rows for PostgreSQL.
#[derive(Clone)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Real(f64),
    Text(Option<String>),
    Blob(Vec<u8>),
    /// `BIGINT[]`; on PostgreSQL alone.
    Ints(Vec<Option<i64>>),
    /// `TEXT[]`; on PostgreSQL alone.
    Texts(Vec<Option<String>>),
}

/// Collects bound values of different types.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Arg::from($value)),*] };
}
pub(crate) use args;

macro_rules! from_int {
    ($($ty:ty),+) => {
        $(
            impl From<$ty> for Arg {
                fn from(value: $ty) -> Self {
                    Arg::Int(Some(i64::from(value)))
                }
            }
            impl From<Option<$ty>> for Arg {
                fn from(value: Option<$ty>) -> Self {
                    Arg::Int(value.map(i64::from))
                }
            }
        )+
    };
}
from_int!(i64, u32, u16, u8, bool);

impl From<f64> for Arg {
    fn from(value: f64) -> Self {
        Arg::Real(value)
    }
}
impl From<WallTime> for Arg {
    fn from(value: WallTime) -> Self {
        Arg::Int(Some(value.0))
    }
}
impl From<Option<WallTime>> for Arg {
    fn from(value: Option<WallTime>) -> Self {
        Arg::Int(value.map(|time| time.0))
    }
}
impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Arg::Text(Some(value.to_owned()))
    }
}
impl From<String> for Arg {
    fn from(value: String) -> Self {
        Arg::Text(Some(value))
    }
}
impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Self {
        Arg::Text(value.map(str::to_owned))
    }
}
impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Arg::Text(value)
    }
}
impl From<&CameraId> for Arg {
    fn from(value: &CameraId) -> Self {
        value.as_str().into()
    }
}
impl From<&SiteId> for Arg {
    fn from(value: &SiteId) -> Self {
        value.as_str().into()
    }
}
impl From<PublicId> for Arg {
    fn from(value: PublicId) -> Self {
        value.to_string().into()
    }
}
impl From<Option<PublicId>> for Arg {
    fn from(value: Option<PublicId>) -> Self {
        Arg::Text(value.map(|id| id.to_string()))
    }
}
impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Arg::Blob(value)
    }
}
