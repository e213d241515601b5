//! Frames narrower than any that was made for a task.
//!
//! Owns: the choice of the rendition that a narrower one is made from.

use heldar_perception::ring::{Frame, Rendition};
use tokio::task::JoinError;

use crate::pixels::{Pixels, PixelsError};

/// A frame could not be made narrower.
#[derive(Debug, thiserror::Error)]
pub enum NarrowError {
    /// It cannot be read or written.
    #[error(transparent)]
    Pixels(#[from] PixelsError),
    /// The work broke off.
    #[error("the work broke off")]
    Broken(#[from] JoinError),
}

/// The picture in a width; as it is where that is as wide or narrower. Aspect is kept, the height is even.
///
/// # Errors
/// [`NarrowError`]: a defect on our side.
pub async fn narrower(
    frame: &Frame,
    selected: &Rendition,
    width: u32,
    quality: u8,
) -> Result<Rendition, NarrowError> {
    if selected.width <= width {
        return Ok(selected.clone());
    }
    // The narrowest that is wide enough has the least to be read.
    let of_frame = frame.renditions.iter().filter(|made| made.width >= width);
    let source = of_frame.min_by_key(|made| made.width).unwrap_or(selected).clone();
    if source.width == width {
        return Ok(source);
    }
    tokio::task::spawn_blocking(move || scaled(&source, width, quality)).await?
}

fn scaled(source: &Rendition, width: u32, quality: u8) -> Result<Rendition, NarrowError> {
    let pixels = Pixels::read(&source.jpeg)?.fit(width);
    let jpeg = pixels.jpeg(quality)?.into();
    Ok(Rendition { width: u32::from(pixels.width), height: u32::from(pixels.height), jpeg })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_frame_has_the_same_shape() {
        let grey = Pixels { width: 64, height: 36, rgb: vec![120; 64 * 36 * 3] };
        let source = Rendition { width: 64, height: 36, jpeg: grey.jpeg(85).unwrap().into() };
        let made = scaled(&source, 30, 85).unwrap();
        assert_eq!((made.width, made.height), (30, 18));
        assert_eq!(Pixels::read(&made.jpeg).unwrap().rgb.len(), 30 * 18 * 3);
        let broken = Rendition { jpeg: source.jpeg.slice(..40), ..source };
        assert!(matches!(scaled(&broken, 30, 85), Err(NarrowError::Pixels(PixelsError::Decode(_)))));
    }
}
