//! Reads of streams, their totals and codec parameters.

use std::collections::HashMap;
use std::sync::Arc;

use heldar_base::{Micros, Scope, StreamId, WallTime};

use super::all;
use crate::error::StoreError;
use crate::model::{AudioFormat, CodecParams, Observed, Stream, StreamTotals, WriteRate};
use crate::sql::{CameraFilter, Query, Row, args, statements};

statements! {
    PARAMS = "SELECT params_no, codec, codec_string, width, height, audio_codec, audio_codec_string, audio_rate,
        audio_channels FROM codec_params WHERE params_no > $1 ORDER BY params_no";
}

const STREAMS: &str =
    "SELECT stream_no, camera_id, kind, segment_count, total_bytes, newest_end_us, observed_codec,
    observed_width, observed_height, observed_fps_milli FROM stream WHERE camera_id IS NOT NULL";

const RATES: &str = "SELECT s.stream_no,
    (SELECT CAST(coalesce(SUM(h.bytes), 0) AS BIGINT) FROM stream_hour h
        WHERE h.stream_no = s.stream_no AND h.hour_no > $),
    (SELECT CAST(coalesce(SUM(h.bytes), 0) AS BIGINT) FROM stream_hour h
        WHERE h.stream_no = s.stream_no AND h.hour_no = $)
    FROM stream s WHERE s.camera_id IS NOT NULL";

/// Microseconds of an hour.
const HOUR: Micros = Micros::from_hours(1);

fn stream_from(row: &Row) -> Result<Stream, StoreError> {
    let mut c = row.columns();
    Ok(Stream {
        stream_no: c.int()?,
        id: StreamId::new(c.word()?, c.word()?),
        totals: StreamTotals { segment_count: c.int()?, total_bytes: c.int()?, newest_end: c.opt_time()? },
        observed: match (c.opt_text()?, c.opt_number()?, c.opt_number()?) {
            (Some(codec), Some(width), Some(height)) => {
                Some(Observed { codec, width, height, fps_milli: c.opt_number()? })
            }
            _ => None,
        },
    })
}

fn params_from(row: &Row) -> Result<(i64, Arc<CodecParams>), StoreError> {
    let mut c = row.columns();
    let number = c.int()?;
    let (codec, codec_string, width, height) = (c.text()?, c.text()?, c.number()?, c.number()?);
    let audio = match (c.opt_text()?, c.opt_text()?, c.opt_number()?, c.opt_number()?) {
        (Some(codec), Some(codec_string), Some(sample_rate), Some(channels)) => {
            Some(AudioFormat { codec, codec_string, sample_rate, channels })
        }
        _ => None,
    };
    Ok((number, Arc::new(CodecParams { codec, codec_string, width, height, audio })))
}

pub(crate) fn list_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(STREAMS, Vec::new());
    query.cameras("camera_id", filter);
    query.push("ORDER BY stream_no", Vec::new());
    query
}

pub(crate) fn rates_query(filter: &CameraFilter<'_>, first_hour: i64) -> Query {
    let mut query = Query::new(RATES, args![first_hour, first_hour]);
    query.cameras("s.camera_id", filter);
    query.push("ORDER BY s.stream_no", Vec::new());
    query
}

impl crate::Store {
    /// Streams of cameras in use or removed with their footage kept, with their stored totals, by number.
    pub async fn streams(&self, scope: &Scope) -> Result<Vec<Stream>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let rows = self.query(list_query(&filter)).await?;
        all(&rows, stream_from)
    }

    /// What each stream wrote in the 24 hours before `now`, by number; streams that wrote nothing are left out.
    pub async fn write_rates(&self, scope: &Scope, now: WallTime) -> Result<Vec<WriteRate>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let since = now - Micros::from_hours(24);
        let first_hour = since.0.div_euclid(HOUR.0);
        let rows = self.query(rates_query(&filter, first_hour)).await?;
        // The part of the first hour that lies in the window.
        let inside = HOUR.0 - since.0.rem_euclid(HOUR.0);
        let mut rates = all(&rows, |row| {
            let mut c = row.columns();
            let (stream_no, whole, first) = (c.int()?, c.int()?, c.int()?);
            let share = i128::from(first) * i128::from(inside) / i128::from(HOUR.0);
            let share = i64::try_from(share).unwrap_or(i64::MAX);
            Ok(WriteRate { stream_no, bytes_per_day: whole.saturating_add(share) })
        })?;
        rates.retain(|rate| rate.bytes_per_day > 0);
        Ok(rates)
    }

    /// Codec parameters by number. They never change, so that each is read once.
    pub(super) async fn params(&self, numbers: &[i64]) -> Result<HashMap<i64, Arc<CodecParams>>, StoreError> {
        let newest = {
            let known = self.params_cache().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if numbers.iter().all(|number| known.contains_key(number)) {
                return Ok(numbers.iter().filter_map(|n| Some((*n, Arc::clone(known.get(n)?)))).collect());
            }
            known.keys().copied().max().unwrap_or(0)
        };
        let rows = self.rows(PARAMS.with(args![newest])).await?;
        let read = all(&rows, params_from)?;
        let mut known = self.params_cache().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.extend(read);
        Ok(numbers.iter().filter_map(|n| Some((*n, Arc::clone(known.get(n)?)))).collect())
    }
}
