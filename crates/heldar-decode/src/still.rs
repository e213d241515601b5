//! One picture out of a run of access units.

use bytes::Bytes;
use heldar_media::VideoParams;

use crate::pool::{Decoders, Lost, OpenError, Picture, Reply, Unit};
use crate::wire::{Hints, Output};

/// A picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StillError {
    /// No decoder can be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The decoder was lost.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The footage gives no such picture.
    #[error("the picture cannot be decoded: {0}")]
    Malformed(String),
}

/// Decodes from a sync sample on and returns the picture that is called `wanted`. `units` are in decoding order, each with
/// what its picture is called and its NAL units; the first must be a sync sample, and every unit that comes before the
/// wanted one in decoding order must be there.
///
/// # Errors
/// [`StillError`].
pub async fn still(
    decoders: &Decoders,
    params: &VideoParams,
    reorder_depth: u8,
    units: Vec<(i64, Bytes)>,
    wanted: i64,
    outputs: Vec<Output>,
) -> Result<Picture, StillError> {
    let (feed, mut answers) = decoders.open(params.codec, reorder_depth, &params.config).await?;
    let send = async {
        for (pts, payload) in units {
            let outputs = if pts == wanted { outputs.clone() } else { Vec::new() };
            let hints = Hints { alone: false, skip_unreferenced: true };
            feed.unit(Unit { pts, hints, outputs, payload }).await?;
        }
        feed.flush(0).await
    };
    let receive = async {
        let mut fault = None;
        loop {
            match answers.recv().await.0 {
                Reply::Picture(picture) => return Ok(picture),
                Reply::Malformed { pts, why } if pts == wanted => return Err(StillError::Malformed(why)),
                Reply::Malformed { why, .. } => fault = Some(why),
                Reply::Flushed(_) => {
                    let why = fault.unwrap_or_else(|| "it did not come out of the decoder".to_owned());
                    return Err(StillError::Malformed(why));
                }
                Reply::Lost(lost) => return Err(lost.into()),
            }
        }
    };
    let (sent, received) = tokio::join!(send, receive);
    match received {
        Ok(picture) => Ok(picture),
        Err(error) => sent.map_err(StillError::from).and(Err(error)),
    }
}
