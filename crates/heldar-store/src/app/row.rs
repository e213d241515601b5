//! A row of an app's read.

use super::AppValue;
use crate::error::StoreError;

/// A row of an app's read, column by column in the order of its SELECT list, from 0.
///
/// Every getter fails with [`crate::ErrorKind::Corrupt`] when there is no such column or it holds something else; those
/// without `opt_` also when it is null.
#[derive(Clone, Debug, PartialEq)]
pub struct AppRow(Box<[AppValue]>);

impl AppRow {
    pub(crate) fn new(values: Vec<AppValue>) -> Self {
        AppRow(values.into())
    }

    /// A column that may be null, as `take` reads it.
    fn opt<'r, T>(
        &'r self,
        at: usize,
        wanted: &str,
        take: impl FnOnce(&'r AppValue) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let value = self.0.get(at).ok_or_else(|| {
            StoreError::corrupt(format!("a row of {} columns has no column {at}", self.0.len()))
        })?;
        if *value == AppValue::Null {
            return Ok(None);
        }
        let taken = take(value).ok_or_else(|| {
            StoreError::corrupt(format!("column {at} holds {}, not {wanted}", value.what()))
        })?;
        Ok(Some(taken))
    }

    /// A whole number, or null.
    ///
    /// # Errors
    /// It holds something else.
    pub fn opt_int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        self.opt(at, "a whole number", |value| match value {
            AppValue::Int(number) => Some(*number),
            _ => None,
        })
    }

    /// A whole number.
    ///
    /// # Errors
    /// It is null, or holds something else.
    pub fn int(&self, at: usize) -> Result<i64, StoreError> {
        self.opt_int(at)?.ok_or_else(|| null(at))
    }

    /// A real number, or null.
    ///
    /// # Errors
    /// It holds something else; a whole number is something else.
    pub fn opt_real(&self, at: usize) -> Result<Option<f64>, StoreError> {
        self.opt(at, "a real number", |value| match value {
            AppValue::Real(number) => Some(*number),
            _ => None,
        })
    }

    /// A real number.
    ///
    /// # Errors
    /// It is null, or holds something else; a whole number is something else.
    pub fn real(&self, at: usize) -> Result<f64, StoreError> {
        self.opt_real(at)?.ok_or_else(|| null(at))
    }

    /// Text, or null.
    ///
    /// # Errors
    /// It holds something else.
    pub fn opt_text(&self, at: usize) -> Result<Option<&str>, StoreError> {
        self.opt(at, "text", |value| match value {
            AppValue::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Text.
    ///
    /// # Errors
    /// It is null, or holds something else.
    pub fn text(&self, at: usize) -> Result<&str, StoreError> {
        self.opt_text(at)?.ok_or_else(|| null(at))
    }

    /// Bytes, or null.
    ///
    /// # Errors
    /// It holds something else.
    pub fn opt_bytes(&self, at: usize) -> Result<Option<&[u8]>, StoreError> {
        self.opt(at, "bytes", |value| match value {
            AppValue::Bytes(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// Bytes.
    ///
    /// # Errors
    /// It is null, or holds something else.
    pub fn bytes(&self, at: usize) -> Result<&[u8], StoreError> {
        self.opt_bytes(at)?.ok_or_else(|| null(at))
    }
}

fn null(at: usize) -> StoreError {
    StoreError::corrupt(format!("column {at} is null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_what_they_hold() {
        let values = vec![7i64.into(), 0.5.into(), "a".into(), vec![1u8].into(), AppValue::Null];
        let row = AppRow::new(values);
        assert_eq!((row.int(0).unwrap(), row.real(1).unwrap()), (7, 0.5));
        assert_eq!((row.text(2).unwrap(), row.bytes(3).unwrap()), ("a", &[1u8][..]));
        assert_eq!((row.opt_int(4).unwrap(), row.opt_real(4).unwrap()), (None, None));
        assert_eq!((row.opt_text(4).unwrap(), row.opt_bytes(4).unwrap()), (None, None));
        for (error, expect) in [
            (row.int(1).unwrap_err(), "column 1 holds a real number, not a whole number"),
            (row.real(0).unwrap_err(), "column 0 holds a whole number, not a real number"),
            (row.opt_text(3).unwrap_err(), "column 3 holds bytes, not text"),
            (row.bytes(2).unwrap_err(), "column 2 holds text, not bytes"),
            (row.text(4).unwrap_err(), "column 4 is null"),
            (row.opt_int(5).unwrap_err(), "a row of 5 columns has no column 5"),
        ] {
            assert_eq!((error.kind(), error.to_string().as_str()), (crate::ErrorKind::Corrupt, expect));
        }
    }
}
