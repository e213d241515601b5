//! A picture as it comes from the decoder: brightness only.
//!
//! Owns: the check that there are as many bytes as the size says. Never: a copy of them.

/// Fewer bytes than the size asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a plane of {width} x {height} has {bytes} bytes only")]
pub struct PlaneError {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Bytes that were given.
    pub bytes: usize,
}

/// One luma plane: rows of `width` bytes from the top, without padding.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    width: usize,
    height: usize,
    luma: &'a [u8],
}

impl<'a> Plane<'a> {
    /// A plane of any size, also of none; bytes past its end are ignored.
    ///
    /// # Errors
    /// `luma` is shorter than `width * height`.
    pub fn new(width: usize, height: usize, luma: &'a [u8]) -> Result<Self, PlaneError> {
        let enough = width.checked_mul(height).is_some_and(|pixels| pixels <= luma.len());
        if enough {
            Ok(Plane { width, height, luma })
        } else {
            Err(PlaneError { width, height, bytes: luma.len() })
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// One row; empty past the last.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        let start = y.saturating_mul(self.width);
        self.luma.get(start..start.saturating_add(self.width)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fill_the_plane() {
        let check = |width, height, bytes: usize, fits| {
            assert_eq!(
                Plane::new(width, height, &vec![0; bytes]).is_ok(),
                fits,
                "{width} x {height}, {bytes}"
            );
        };
        check(0, 0, 0, true);
        check(4, 3, 12, true);
        check(4, 3, 20, true);
        check(4, 3, 11, false);
        check(usize::MAX, 2, 20, false);
        check(0, usize::MAX, 0, true);
    }

    #[test]
    fn rows_are_those_of_the_plane() {
        let plane = Plane::new(2, 2, &[1, 2, 3, 4, 5]).unwrap();
        assert_eq!([plane.row(0), plane.row(1)], [[1, 2], [3, 4]]);
        assert!(plane.row(usize::MAX).is_empty());
    }
}
