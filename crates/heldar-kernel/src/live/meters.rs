//! Metrics of live view (auth-system.md 7.2).

use std::sync::Arc;

use heldar_http::metrics::{Counter, Family, Gauge, Histogram, Registry};
use heldar_live::{Cut, Transport, Viewers, Watch};

/// Bounds of the time to a first picture, in seconds.
const FIRST_PICTURE: &[f64] = &[0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0];

/// Handles on all of them.
pub(super) struct Meters {
    viewers: Arc<Family<Gauge, 1>>,
    first_picture: Arc<Family<Histogram, 1>>,
    skips: Arc<Family<Counter, 1>>,
    closed: Arc<Family<Counter, 2>>,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Meters {
    pub(super) fn new(r: &Registry) -> Self {
        Meters {
            viewers: r.gauges("heldar_live_viewers", "Viewers now.", ["transport"]),
            first_picture: r.histograms(
                "heldar_live_first_picture_seconds",
                "Time from a viewer's coming to its first picture.",
                ["transport"],
                FIRST_PICTURE,
            ),
            skips: r.counters(
                "heldar_live_skips_total",
                "Times that a viewer was moved to the next sync sample.",
                ["transport"],
            ),
            closed: r.counters(
                "heldar_live_closed_total",
                "Viewers that have gone.",
                ["transport", "reason"],
            ),
        }
    }

    pub(super) fn scrape(&self, viewers: &Viewers) {
        for transport in Transport::ALL {
            self.viewers.with([transport.as_str()]).set(viewers.count(transport) as f64);
        }
    }
}

impl Watch for Meters {
    fn first_picture(&self, transport: Transport, seconds: f64) {
        self.first_picture.with([transport.as_str()]).observe(seconds);
    }

    fn skipped(&self, transport: Transport) {
        self.skips.with([transport.as_str()]).inc();
    }

    fn closed(&self, transport: Transport, why: Option<Cut>) {
        self.closed.with([transport.as_str(), why.map_or("left", Cut::as_str)]).inc();
    }
}
