//! Rows of either engine, read column by column in the order of the SELECT list.

use std::str::FromStr;

use heldar_base::{PublicId, WallTime};
use rusqlite::types::Value;
use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};

use crate::error::StoreError;

/// One row.
pub(crate) enum Row {
    Sqlite(Box<[Value]>),
    Postgres(PgRow),
}

impl Row {
    /// Its columns from the first.
    pub(crate) fn columns(&self) -> Columns<'_> {
        self.columns_from(0)
    }

    /// Its columns from the one with this number.
    pub(crate) fn columns_from(&self, first: usize) -> Columns<'_> {
        Columns { row: self, next: first }
    }

    fn opt_int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        match self {
            Row::Sqlite(row) => match row.get(at) {
                Some(Value::Integer(number)) => Ok(Some(*number)),
                Some(Value::Null) => Ok(None),
                _ => Err(wrong_type()),
            },
            Row::Postgres(row) => {
                let value = row.try_get_raw(at)?;
                if value.is_null() {
                    return Ok(None);
                }
                let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
                // Prepared statements answer in binary, big endian; flags are SMALLINT there.
                let number = match *bytes {
                    [a, b] => i64::from(i16::from_be_bytes([a, b])),
                    [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
                    [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
                    _ => return Err(wrong_type()),
                };
                Ok(Some(number))
            }
        }
    }

    fn real(&self, at: usize) -> Result<f64, StoreError> {
        match self {
            Row::Sqlite(row) => match row.get(at) {
                Some(Value::Real(number)) => Ok(*number),
                _ => Err(wrong_type()),
            },
            Row::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    fn opt_text(&self, at: usize) -> Result<Option<String>, StoreError> {
        match self {
            Row::Sqlite(row) => match row.get(at) {
                Some(Value::Text(text)) => Ok(Some(text.clone())),
                Some(Value::Null) => Ok(None),
                _ => Err(wrong_type()),
            },
            Row::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    fn blob(&self, at: usize) -> Result<Vec<u8>, StoreError> {
        match self {
            Row::Sqlite(row) => match row.get(at) {
                Some(Value::Blob(bytes)) => Ok(bytes.clone()),
                _ => Err(wrong_type()),
            },
            Row::Postgres(row) => Ok(row.try_get(at)?),
        }
    }
}

/// Reads a row from left to right.
pub(crate) struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

fn wrong_type() -> StoreError {
    StoreError::corrupt("a column holds a value of another type than its own")
}

fn missing() -> StoreError {
    StoreError::corrupt("a column that must have a value is null")
}

impl Columns<'_> {
    fn step(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        let at = self.step();
        self.row.opt_int(at)
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?.ok_or_else(missing)
    }

    /// A number of a narrower type.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        T::try_from(self.int()?).map_err(|_| StoreError::corrupt("a stored number is out of range"))
    }

    pub(crate) fn opt_number<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, StoreError> {
        self.opt_int()?
            .map(T::try_from)
            .transpose()
            .map_err(|_| StoreError::corrupt("a stored number is out of range"))
    }

    pub(crate) fn real(&mut self) -> Result<f64, StoreError> {
        let at = self.step();
        self.row.real(at)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }

    pub(crate) fn time(&mut self) -> Result<WallTime, StoreError> {
        Ok(WallTime(self.int()?))
    }

    pub(crate) fn opt_time(&mut self) -> Result<Option<WallTime>, StoreError> {
        Ok(self.opt_int()?.map(WallTime))
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        let at = self.step();
        self.row.opt_text(at)
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.ok_or_else(missing)
    }

    pub(crate) fn blob(&mut self) -> Result<Vec<u8>, StoreError> {
        let at = self.step();
        self.row.blob(at)
    }

    /// Text of a closed vocabulary or an id.
    pub(crate) fn word<T: FromStr>(&mut self) -> Result<T, StoreError> {
        self.opt_word()?.ok_or_else(missing)
    }

    pub(crate) fn opt_word<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        match self.opt_text()? {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| StoreError::corrupt(format!("`{text}` is not a word of its column"))),
        }
    }

    pub(crate) fn public_id(&mut self, prefix: &'static str) -> Result<PublicId, StoreError> {
        PublicId::parse(prefix, &self.text()?).map_err(|e| StoreError::corrupt(e.to_string()))
    }

    pub(crate) fn opt_public_id(&mut self, prefix: &'static str) -> Result<Option<PublicId>, StoreError> {
        self.opt_text()?
            .map(|text| PublicId::parse(prefix, &text))
            .transpose()
            .map_err(|e| StoreError::corrupt(e.to_string()))
    }

    /// JSON text.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        self.opt_json()?.ok_or_else(missing)
    }

    pub(crate) fn opt_json<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        let Some(text) = self.opt_text()? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| StoreError::caused(crate::ErrorKind::Corrupt, "stored JSON cannot be read", e))
    }
}
