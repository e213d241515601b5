//! The three kinds of values.

use std::sync::atomic::{AtomicU64, Ordering};

use super::TextFormat;
use super::render::{sample, sample_with};

/// What a family needs of its values.
pub trait Metric: Send + Sync + 'static {
    /// The word after `# TYPE`.
    const KIND: &'static str;
    /// A value at zero.
    fn new(bounds: &'static [f64]) -> Self;
    /// Writes its samples.
    fn render(&self, out: &mut String, format: TextFormat, name: &str, labels: &[(&str, &str)]);
}

/// A float behind atomic bits.
#[derive(Debug, Default)]
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    fn update(&self, change: impl Fn(f64) -> f64) {
        let step = |bits| Some(change(f64::from_bits(bits)).to_bits());
        let _changed = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
}

/// A count or sum that only rises. Exact for whole numbers up to 2^53.
#[derive(Debug, Default)]
pub struct Counter(AtomicF64);

impl Counter {
    /// Adds 1.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Adds an amount; nothing for a negative one.
    pub fn add(&self, amount: f64) {
        if amount > 0.0 {
            self.0.update(|value| value + amount);
        }
    }

    /// Rises to a total that is counted elsewhere; never falls.
    pub fn raise_to(&self, total: f64) {
        self.0.update(|value| value.max(total));
    }

    /// The count.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

impl Metric for Counter {
    const KIND: &'static str = "counter";

    fn new(_bounds: &'static [f64]) -> Self {
        Counter::default()
    }

    fn render(&self, out: &mut String, _format: TextFormat, name: &str, labels: &[(&str, &str)]) {
        sample(out, name, "", labels, self.get());
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicF64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds an amount, which may be negative.
    pub fn add(&self, amount: f64) {
        self.0.update(|value| value + amount);
    }

    /// The value.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

impl Metric for Gauge {
    const KIND: &'static str = "gauge";

    fn new(_bounds: &'static [f64]) -> Self {
        Gauge::default()
    }

    fn render(&self, out: &mut String, _format: TextFormat, name: &str, labels: &[(&str, &str)]) {
        sample(out, name, "", labels, self.get());
    }
}

/// A distribution over fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One per bound and one for what lies beyond all; each counts its own observations only.
    buckets: Vec<AtomicU64>,
    sum: AtomicF64,
}

impl Histogram {
    /// Counts one observation; what is not a number is left out.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let at = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.update(|sum| sum + value);
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Metric for Histogram {
    const KIND: &'static str = "histogram";

    fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicF64::default() }
    }

    fn render(&self, out: &mut String, format: TextFormat, name: &str, labels: &[(&str, &str)]) {
        let mut below = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            let bound = match self.bounds.get(at) {
                Some(bound) => format.bound(*bound),
                None => "+Inf".to_owned(),
            };
            sample_with(out, name, "_bucket", labels, Some(("le", &bound)), below as f64);
        }
        sample(out, name, "_sum", labels, self.sum.get());
        // The same reading as the last bucket, so that both always agree.
        sample(out, name, "_count", labels, below as f64);
    }
}
