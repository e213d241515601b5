//! A small registry of counters, gauges and histograms, and its text form (auth-system.md 7).
//!
//! Values are maintained where things happen; a scrape only reads them. The label names of a metric are part of its type,
//! so a label set cannot change. Never: a name, URL, address, user or free text as a label value.

mod http;
mod render;
mod value;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use http::HttpMetrics;
pub(crate) use http::{InFlight, Plane, Protocol};
pub use render::TextFormat;
pub use value::{Counter, Gauge, Histogram};

use value::Metric;

/// Upper bounds of duration buckets, in seconds.
pub const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Parts label values in the key of a series. Label values are slugs, so none holds it.
const SEPARATOR: &str = "\u{1f}";

/// All series of one metric, by the values of its `N` labels.
pub struct Family<M, const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    bounds: &'static [f64],
    series: RwLock<BTreeMap<String, Series<M, N>>>,
}

struct Series<M, const N: usize> {
    values: [Box<str>; N],
    metric: Arc<M>,
}

impl<M: Metric, const N: usize> Family<M, N> {
    /// The series with these label values, made when it is new. Keep the result where it is used often.
    pub fn with(&self, values: [&str; N]) -> Arc<M> {
        let key = values.join(SEPARATOR);
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = series.get(&key) {
            return Arc::clone(&found.metric);
        }
        drop(series);
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let entry = series.entry(key).or_insert_with(|| Series {
            values: values.map(Box::from),
            metric: Arc::new(M::new(self.bounds)),
        });
        Arc::clone(&entry.metric)
    }

    /// Keeps the series whose label values satisfy `keep`; how the series of a removed camera vanish.
    pub fn retain(&self, mut keep: impl FnMut([&str; N]) -> bool) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        series.retain(|_, entry| keep(std::array::from_fn(|i| entry.values.get(i).map_or("", |v| v))));
    }
}

/// What the registry sees of a family.
trait AnyFamily: Send + Sync {
    fn render(&self, out: &mut String, format: TextFormat);
}

impl<M: Metric, const N: usize> AnyFamily for Family<M, N> {
    fn render(&self, out: &mut String, format: TextFormat) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if series.is_empty() {
            return;
        }
        render::head(out, format, self.name, self.help, M::KIND);
        for entry in series.values() {
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(entry.values.iter().map(|value| &**value)).collect();
            entry.metric.render(out, format, self.name, &labels);
        }
    }
}

/// Every metric of the process, in one place. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<&'static str, Arc<dyn AnyFamily>>>>,
}

impl Registry {
    /// A registry without metrics.
    pub fn new() -> Self {
        Registry::default()
    }

    /// A counter without labels. Its name ends in `_total`.
    ///
    /// # Panics
    /// As every method that registers: when the name is taken. Names are literals of the program.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Arc<Counter> {
        self.counters(name, help, []).with([])
    }

    /// Counters by label values.
    pub fn counters<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Arc<Family<Counter, N>> {
        self.register(name, help, labels, &[])
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Arc<Gauge> {
        self.gauges(name, help, []).with([])
    }

    /// Gauges by label values.
    pub fn gauges<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Arc<Family<Gauge, N>> {
        self.register(name, help, labels, &[])
    }

    /// A histogram without labels; `bounds` rise, the last bucket (`+Inf`) is implied.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
    ) -> Arc<Histogram> {
        self.histograms(name, help, [], bounds).with([])
    }

    /// Histograms by label values.
    pub fn histograms<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Arc<Family<Histogram, N>> {
        self.register(name, help, labels, bounds)
    }

    /// The text of a scrape.
    pub fn render(&self, format: TextFormat) -> String {
        let families: Vec<Arc<dyn AnyFamily>> = {
            let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
            families.values().cloned().collect()
        };
        let mut out = String::with_capacity(16 * 1024);
        for family in families {
            family.render(&mut out, format);
        }
        render::tail(&mut out, format);
        out
    }

    fn register<M: Metric, const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Arc<Family<M, N>> {
        let family = Arc::new(Family { name, help, labels, bounds, series: RwLock::default() });
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = families.insert(name, Arc::clone(&family) as Arc<dyn AnyFamily>);
        drop(families);
        assert!(taken.is_none(), "the metric {name} is registered twice");
        family
    }
}
