//! The text forms of a scrape: Prometheus 0.0.4 and OpenMetrics 1.0.0.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderValue, header};

/// Which form a scraper wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// `text/plain; version=0.0.4`
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl TextFormat {
    /// The form that `Accept` prefers; Prometheus unless OpenMetrics is named and not wanted less (RFC 9110 12.4.2).
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let mut open = 0;
        let mut plain = 0;
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let weight_of = match parts.next() {
                Some("application/openmetrics-text") => &mut open,
                Some("text/plain") => &mut plain,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, milli);
            *weight_of = quality.max(*weight_of);
        }
        if open > 0 && open >= plain { TextFormat::OpenMetrics } else { TextFormat::Prometheus }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            TextFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }

    /// A bucket bound; OpenMetrics writes whole numbers as floats.
    pub(super) fn bound(self, bound: f64) -> String {
        match self {
            TextFormat::Prometheus => format!("{bound}"),
            TextFormat::OpenMetrics => format!("{bound:?}"),
        }
    }
}

/// A quality value in thousandths; what cannot be read counts as 0.
fn milli(text: &str) -> u32 {
    text.parse::<f64>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32)
}

/// `# HELP` and `# TYPE`. OpenMetrics names a counter without its `_total`.
pub(super) fn head(out: &mut String, format: TextFormat, name: &str, help: &str, kind: &str) {
    let family = match format {
        TextFormat::OpenMetrics if kind == "counter" => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a string cannot fail.
    let _ok = writeln!(out, "# HELP {family} {help}\n# TYPE {family} {kind}");
}

/// What ends the text.
pub(super) fn tail(out: &mut String, format: TextFormat) {
    if format == TextFormat::OpenMetrics {
        out.push_str("# EOF\n");
    }
}

/// One line.
pub(super) fn sample(out: &mut String, name: &str, suffix: &str, labels: &[(&str, &str)], value: f64) {
    sample_with(out, name, suffix, labels, None, value);
}

/// One line with a further label behind the others.
pub(super) fn sample_with(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&str, &str)],
    more: Option<(&str, &str)>,
    value: f64,
) {
    out.push_str(name);
    out.push_str(suffix);
    let mut open = '{';
    for (label, text) in labels.iter().copied().chain(more) {
        out.push(open);
        open = ',';
        out.push_str(label);
        out.push_str("=\"");
        for c in text.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    if open == ',' {
        out.push('}');
    }
    out.push(' ');
    if value == f64::INFINITY {
        out.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        out.push_str("-Inf");
    } else {
        let _ok = write!(out, "{value}");
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    fn registry() -> Registry {
        let registry = Registry::new();
        registry.counter("heldar_a_total", "Things.").add(3.0);
        registry.gauges("heldar_b", "Levels\nhere.", ["camera"]).with(["x\"y\\z"]).set(-1.5);
        registry.gauges("heldar_none", "No series.", ["camera"]);
        let times = registry.histogram("heldar_c_seconds", "Times.", &[0.5, 1.0]);
        times.observe(0.5);
        times.observe(0.75);
        times.observe(9.0);
        times.observe(f64::NAN);
        registry
    }

    #[test]
    fn prometheus_text() {
        assert_eq!(
            registry().render(TextFormat::Prometheus),
            "# HELP heldar_a_total Things.\n# TYPE heldar_a_total counter\nheldar_a_total 3\n\
             # HELP heldar_b Levels\\nhere.\n# TYPE heldar_b gauge\nheldar_b{camera=\"x\\\"y\\\\z\"} -1.5\n\
             # HELP heldar_c_seconds Times.\n# TYPE heldar_c_seconds histogram\n\
             heldar_c_seconds_bucket{le=\"0.5\"} 1\nheldar_c_seconds_bucket{le=\"1\"} 2\n\
             heldar_c_seconds_bucket{le=\"+Inf\"} 3\nheldar_c_seconds_sum 10.25\nheldar_c_seconds_count 3\n"
        );
    }

    #[test]
    fn openmetrics_text() {
        let text = registry().render(TextFormat::OpenMetrics);
        assert!(text.starts_with("# HELP heldar_a Things.\n# TYPE heldar_a counter\nheldar_a_total 3\n"));
        assert!(text.contains("le=\"1.0\"") && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_removed_camera_has_no_series() {
        let registry = Registry::new();
        let up = registry.gauges("heldar_up", "Up.", ["camera", "stream"]);
        up.with(["gate", "main"]).set(1.0);
        up.with(["yard", "main"]).set(1.0);
        up.retain(|[camera, _]| camera != "gate");
        let text = registry.render(TextFormat::Prometheus);
        assert!(!text.contains("gate") && text.contains("yard"), "{text}");
    }

    #[test]
    fn counters_never_fall() {
        let counter = Registry::new().counter("heldar_x_total", "X.");
        counter.raise_to(5.0);
        counter.raise_to(4.0);
        counter.add(-1.0);
        assert_eq!(counter.get(), 5.0);
    }

    #[test]
    #[should_panic(expected = "registered twice")]
    fn a_name_is_registered_once() {
        let registry = Registry::new();
        registry.gauge("heldar_x", "X.");
        registry.gauge("heldar_x", "X.");
    }

    #[test]
    fn negotiation() {
        for (accept, expect) in [
            (None, TextFormat::Prometheus),
            (Some("*/*"), TextFormat::Prometheus),
            (Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), TextFormat::Prometheus),
            (
                Some("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3"),
                TextFormat::OpenMetrics,
            ),
            (Some("application/openmetrics-text;q=0.2, text/plain;q=0.3"), TextFormat::Prometheus),
            (Some("application/openmetrics-text"), TextFormat::OpenMetrics),
            (Some("application/openmetrics-text;q=0"), TextFormat::Prometheus),
        ] {
            let headers: HeaderMap =
                accept.map(|text| (header::ACCEPT, HeaderValue::from_static(text))).into_iter().collect();
            assert_eq!(TextFormat::negotiate(&headers), expect, "{accept:?}");
        }
    }
}
