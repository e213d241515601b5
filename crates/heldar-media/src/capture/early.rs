//! What arrives before the first picture of a track is placed, so that it is anchored where the track's smallest delay will
//! have it.

use std::num::NonZeroU32;

use heldar_base::{Micros, MonoTime, WallTime};

use super::{REPORT_AGREEMENT_US, Reading};

/// Readings that are kept; more than a camera sends before the first is placed.
const MOST: usize = 4096;

/// A reading that is earlier than the first one's arrival allows by more than this comes from a jump of the camera's clock.
const FARTHEST_US: i64 = 10_000_000;

/// Readings of one track that have not been placed yet.
#[derive(Clone, Debug)]
pub(super) struct Early {
    clock_rate: NonZeroU32,
    readings: Vec<(i64, MonoTime)>,
    report: Option<(i64, WallTime)>,
}

impl Early {
    /// Begins with the first reading.
    pub(super) fn new(reading: &Reading) -> Self {
        Early {
            clock_rate: reading.clock_rate,
            readings: vec![(reading.rtp_time, reading.arrival)],
            report: None,
        }
    }

    /// Takes a further one.
    pub(super) fn note(&mut self, reading: &Reading) {
        let Some((first, arrival)) = self.readings.first().copied() else { return };
        let ahead = self.micros(reading.rtp_time, first).saturating_sub((reading.arrival - arrival).0);
        if reading.clock_rate == self.clock_rate && ahead <= FARTHEST_US && self.readings.len() < MOST {
            self.readings.push((reading.rtp_time, reading.arrival));
        }
    }

    /// Takes a sender report.
    pub(super) fn report(&mut self, rtp_time: i64, sent_at: WallTime) {
        self.report = Some((rtp_time, sent_at));
    }

    /// The newest sender report: RTP time and the sender's clock.
    pub(super) fn newest_report(&self) -> Option<(i64, WallTime)> {
        self.report
    }

    /// Arrival and delay of each reading, against a scale that is zero at `origin`.
    pub(super) fn delays(&self, origin: i64) -> impl Iterator<Item = (MonoTime, i64)> {
        self.readings
            .iter()
            .map(move |(rtp, arrival)| (*arrival, arrival.0.saturating_sub(self.micros(*rtp, origin))))
    }

    /// Where the scale that is zero at `origin` begins in monotonic time: by the smallest delay, and where both tracks have
    /// reports that agree with it, by that of the faster one.
    pub(super) fn anchor(&self, origin: i64, other: Option<&Early>) -> Option<i64> {
        let by_arrival = self.delays(origin).map(|(_, delay)| delay).min()?;
        let by_reports = other.and_then(|other| {
            let (own, others) = (self.sender_delay()?, other.sender_delay()?);
            let (rtp, sent_at) = self.report?;
            let agree = own.saturating_sub(others).saturating_abs() <= REPORT_AGREEMENT_US;
            let offset = sent_at.0.saturating_sub(self.micros(rtp, origin));
            agree.then(|| own.min(others).saturating_add(offset))
        });
        Some(by_reports.unwrap_or(by_arrival))
    }

    /// Monotonic time less the sender's clock.
    fn sender_delay(&self) -> Option<i64> {
        let (rtp, sent_at) = self.report?;
        Some(self.delays(rtp).map(|(_, delay)| delay).min()?.saturating_sub(sent_at.0))
    }

    fn micros(&self, rtp_time: i64, origin: i64) -> i64 {
        Micros::from_ticks(rtp_time.saturating_sub(origin), self.clock_rate.get()).0
    }
}
