//! Writes of streams and codec parameters: the numbers that segments name them by.

use heldar_base::StreamId;

use super::{Apply, Durability, OpError, Tx, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{CodecParams, Observed};
use crate::sql::{Arg, args, statements};

statements! {
    STREAM_NO = "SELECT stream_no FROM stream WHERE camera_id = $1 AND kind = $2";
    CAMERA_EXISTS = "SELECT 1 FROM camera WHERE id = $1";
    STREAM_TAKE_NO = "UPDATE writer_state SET next_stream_no = next_stream_no + 1 WHERE id = 1
        RETURNING next_stream_no - 1";
    STREAM_INSERT = "INSERT INTO stream (stream_no, camera_id, folder, kind) VALUES ($1, $2, $2, $3)";
    STREAM_OBSERVE = "UPDATE stream SET observed_codec = $2, observed_width = $3, observed_height = $4,
        observed_fps_milli = $5 WHERE stream_no = $1";
    PARAMS_NO = "SELECT params_no FROM codec_params WHERE codec_string = $1 AND width = $2 AND height = $3
        AND coalesce(audio_codec_string, '') = $4 AND coalesce(audio_rate, 0) = $5 AND coalesce(audio_channels, 0) = $6";
    PARAMS_INSERT = "INSERT INTO codec_params (params_no, codec_string, width, height, codec, audio_codec,
        audio_codec_string, audio_rate, audio_channels)
        VALUES ((SELECT coalesce(MAX(params_no), 0) + 1 FROM codec_params), $1, $2, $3, $4, $5, $6, $7, $8)
        RETURNING params_no";
}

/// The number of a stream, given out at its first use. Refused with [`ErrorKind::NotFound`] when the camera does not
/// exist.
#[derive(Clone, Debug)]
pub struct EnsureStream {
    /// Which feed of which camera.
    pub stream: StreamId,
}

impl Apply for EnsureStream {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, OpError> {
        let (camera, kind) = (&self.stream.camera, self.stream.kind.as_str());
        if let Some(row) = tx.row(STREAM_NO, args![camera, kind]).await? {
            return Ok(row.columns().int()?);
        }
        if tx.row(CAMERA_EXISTS, args![camera]).await?.is_none() {
            return Err(not_found("camera"));
        }
        let taken = tx.run_returning(STREAM_TAKE_NO, Vec::new()).await?;
        let row =
            taken.first().ok_or_else(|| refused(ErrorKind::Corrupt, "the store has no writer state"))?;
        let stream_no = row.columns().int()?;
        tx.run(STREAM_INSERT, args![stream_no, camera, kind]).await?;
        Ok(stream_no)
    }
}

/// The number of a set of codec parameters, given out at its first use.
#[derive(Clone, Debug)]
pub struct EnsureParams {
    /// The parameters.
    pub params: CodecParams,
}

impl Apply for EnsureParams {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, OpError> {
        let p = &self.params;
        let audio = p.audio.as_ref();
        let key: Vec<Arg> = args![
            p.codec_string.as_str(),
            p.width,
            p.height,
            audio.map_or("", |a| a.codec_string.as_str()),
            audio.map_or(0, |a| a.sample_rate),
            audio.map_or(0, |a| a.channels),
        ];
        if let Some(row) = tx.row(PARAMS_NO, key).await? {
            return Ok(row.columns().int()?);
        }
        let row = args![
            p.codec_string.as_str(),
            p.width,
            p.height,
            p.codec.as_str(),
            audio.map(|a| a.codec.as_str()),
            audio.map(|a| a.codec_string.as_str()),
            audio.map(|a| a.sample_rate),
            audio.map(|a| a.channels),
        ];
        let inserted = tx.run_returning(PARAMS_INSERT, row).await?;
        let row =
            inserted.first().ok_or_else(|| refused(ErrorKind::Internal, "the parameters were not stored"))?;
        Ok(row.columns().int()?)
    }
}

/// Notes what a session of a stream showed. A stream that is gone is no error.
#[derive(Clone, Debug)]
pub struct ObserveStream {
    /// Its number.
    pub stream_no: i64,
    /// What was seen.
    pub observed: Observed,
}

impl Apply for ObserveStream {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let o = &self.observed;
        let row = args![self.stream_no, o.codec.as_str(), o.width, o.height, o.fps_milli];
        tx.run(STREAM_OBSERVE, row).await?;
        Ok(())
    }
}
