//! RTP timestamps without their wrap (RFC 3550 5.1).
//!
//! A 32-bit timestamp stands for the 64-bit time that is nearest to the one before it; so up to half the range (6.6 hours
//! at 90 kHz) either way is understood. Jumps are told, never hidden: what they mean is for [`crate::CaptureClock`].

/// How a timestamp relates to the one before it. Amounts are in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpStep {
    /// The first one.
    First,
    /// Later, by at most the largest expected step.
    Forward(i64),
    /// The same again.
    Repeat,
    /// Earlier, by at most the largest expected step: reordered pictures, or packets out of order.
    Backward(i64),
    /// Farther away than the largest expected step; negative when it is earlier.
    Jump(i64),
}

/// Unrolls the timestamps of one track.
#[derive(Clone, Debug)]
pub struct RtpUnroller {
    last: Option<i64>,
    largest_step: i64,
}

impl RtpUnroller {
    /// `largest_step` in ticks: a difference beyond it is a jump.
    pub fn new(largest_step: u32) -> Self {
        RtpUnroller { last: None, largest_step: i64::from(largest_step) }
    }

    /// Takes the next timestamp, in order of arrival. The first one stands for itself.
    ///
    /// The result stays within `i64` for 2^32 timestamps of the worst kind and saturates then.
    pub fn unroll(&mut self, timestamp: u32) -> (i64, RtpStep) {
        let Some(last) = self.last else {
            let time = i64::from(timestamp);
            self.last = Some(time);
            return (time, RtpStep::First);
        };
        let time = nearest(last, timestamp);
        self.last = Some(time);
        let delta = time.saturating_sub(last);
        let step = match delta {
            0 => RtpStep::Repeat,
            _ if delta.saturating_abs() > self.largest_step => RtpStep::Jump(delta),
            1.. => RtpStep::Forward(delta),
            _ => RtpStep::Backward(-delta),
        };
        (time, step)
    }

    /// Where a timestamp lies that is not one of the track's pictures, such as that of a sender report (RFC 3550 6.4.1).
    /// `None` before the first.
    pub fn place(&self, timestamp: u32) -> Option<i64> {
        self.last.map(|last| nearest(last, timestamp))
    }
}

/// The time with these low 32 bits that is nearest to `reference`.
fn nearest(reference: i64, timestamp: u32) -> i64 {
    let low = reference as u32;
    let delta = timestamp.wrapping_sub(low).cast_signed();
    reference.saturating_add(i64::from(delta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(timestamps: &[u32], expect: &[(i64, RtpStep)]) {
        let mut unroller = RtpUnroller::new(900_000);
        let got: Vec<_> = timestamps.iter().map(|t| unroller.unroll(*t)).collect();
        assert_eq!(got, expect, "{timestamps:?}");
    }

    #[test]
    fn steps() {
        use RtpStep::{Backward, First, Forward, Jump, Repeat};
        check(&[5, 3605, 3605, 5], &[(5, First), (3605, Forward(3600)), (3605, Repeat), (5, Backward(3600))]);
        check(&[u32::MAX, 9], &[(0xffff_ffff, First), (0x1_0000_0009, Forward(10))]);
        check(&[9, u32::MAX], &[(9, First), (-1, Backward(10))]);
        check(
            &[0, 900_001, 0, 0x8000_0000],
            &[(0, First), (900_001, Jump(900_001)), (0, Jump(-900_001)), (-0x8000_0000, Jump(-0x8000_0000))],
        );
    }

    #[test]
    fn place_moves_nothing() {
        let mut unroller = RtpUnroller::new(900_000);
        assert_eq!(unroller.place(7), None);
        unroller.unroll(u32::MAX);
        assert_eq!(unroller.place(5), Some(0x1_0000_0005));
        assert_eq!(unroller.unroll(0).0, 0x1_0000_0000);
    }

    proptest! {
        /// Against a model that has all 64 bits to begin with.
        #[test]
        fn agrees_with_64_bits(start: u32, steps in proptest::collection::vec(-0x7fff_ffffi64..=0x7fff_ffff, 0..200)) {
            let mut unroller = RtpUnroller::new(900_000);
            let mut truth = i64::from(start);
            prop_assert_eq!(unroller.unroll(start), (truth, RtpStep::First));
            for step in steps {
                truth += step;
                prop_assert_eq!(unroller.unroll(truth as u32).0, truth);
            }
        }
    }
}
