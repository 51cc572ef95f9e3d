//! Metrics as tables: name, kind, help text and the function that reads the value. A table is read at each scrape, so
//! that the admin port never shows a stale copy.

mod page;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::config::reference::{PAGE_WIDTH, wrapped};
use crate::credentials::board::BOARD;

pub use page::{Marked, check_page, json_reference};

pub struct Metric<T> {
    /// Name of the metric, unit last; the exposition adds `_total` to counters.
    pub name: &'static str,
    /// Help text, published with the metric.
    pub help: &'static str,
    /// Function that reads the value.
    pub read: Read<T>,
}

/// The kind of a metric, with the function that reads its value.
pub enum Read<T> {
    /// A number that only grows while the process lives.
    Counter(fn(&T) -> u64),
    /// A counter for each value of a label.
    Counters(&'static str, fn(&T) -> Vec<(String, u64)>),
    /// A number that goes up and down; absent if it is not known.
    Gauge(fn(&T) -> Option<f64>),
    /// A gauge for each value of a label.
    Gauges(&'static str, fn(&T) -> Vec<(String, f64)>),
    /// A gauge for each pair of values of two labels.
    GaugesBy([&'static str; 2], fn(&T) -> Vec<ByTwo>),
    /// A histogram for each value of a label.
    Histograms(&'static str, fn(&T) -> Vec<(String, Buckets)>),
}

/// Makes a table of metrics. A row is the kind, the name, the labels, the function that reads the value, and the help.
#[macro_export]
macro_rules! metrics {
    ($($kind:ident $name:literal $(by $label:expr)?, $read:expr, $help:literal;)*) => {
        &[$($crate::metrics::Metric {
            name: $name,
            help: $help,
            read: $crate::metrics::Read::$kind($($label,)? $read),
        }),*]
    };
}

/// The values of two labels, and the value of their gauge.
pub type ByTwo = ([String; 2], f64);

/// A histogram at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    /// Sum of all values.
    pub sum: f64,
    /// Number of all values.
    pub count: u64,
    /// Upper bound of each bucket, the last one infinite, and the number of values in the bucket.
    pub bounds: Vec<(f64, u64)>,
}

/// A reading of a table, and the labels that distinguish it from other readings.
pub type Labelled<T> = (Vec<(&'static str, String)>, T);

/// A table of metrics and the function that makes its readings.
struct Collection<T: 'static> {
    table: &'static [Metric<T>],
    readings: Box<dyn Fn() -> Vec<Labelled<T>> + Send + Sync>,
}

/// Counters that every process has.
#[derive(Debug, Default)]
pub struct Process {
    /// Reloads that took effect.
    pub reloads: AtomicU64,
    pub reloads_refused: AtomicU64,
    /// Requests to the admin port without its token.
    pub admin_refused: AtomicU64,
    /// 1 if the process does its work; set before each scrape.
    pub ready: AtomicU64,
}

pub static PROCESS: Process = Process {
    reloads: AtomicU64::new(0),
    reloads_refused: AtomicU64::new(0),
    admin_refused: AtomicU64::new(0),
    ready: AtomicU64::new(0),
};

const OF_PROCESS: &[Metric<()>] = crate::metrics! {
    Counter "causeway_reloads", |()| PROCESS.reloads.load(Ordering::Relaxed),
        "Reloads that were applied";
    Counter "causeway_reloads_refused", |()| PROCESS.reloads_refused.load(Ordering::Relaxed),
        "Reloads that were refused: nothing changed";
    Counter "causeway_admin_requests_refused", |()| PROCESS.admin_refused.load(Ordering::Relaxed),
        "Requests to the admin port without its token";
    Gauge "causeway_ready", |()| Some(PROCESS.ready.load(Ordering::Relaxed) as f64),
        "1 if `GET /ready` answers 200, else 0";
    Gauges "causeway_certificate_expiry_timestamp_seconds" by "certificate",
        |()| BOARD.expiries(),
        "When a certificate in use expires, in seconds since 1970: own, chain (between it and an authority), ca (the last authority), peer; Kafka's, if PEM: kafka, kafka-chain, kafka-ca";
    Counters "causeway_credentials_renewed" by "files", |()| BOARD.renewals(),
        "Changed files taken up: tls, admin or kafka";
    Gauges "causeway_credentials_unusable" by "files", |()| BOARD.unusable(),
        "1 if these changed files cannot be used, else 0";
};

/// Makes a registry with the metrics of every process: its version and its reloads.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("causeway_build", "The version that is running; always 1", version);
    add(&mut registry, OF_PROCESS, || vec![(Vec::new(), ())]);
    registry
}

/// Adds a table of metrics to a registry, with the function that makes its readings at each scrape.
pub fn add<T: 'static>(
    registry: &mut Registry,
    table: &'static [Metric<T>],
    readings: impl Fn() -> Vec<Labelled<T>> + Send + Sync + 'static,
) {
    registry.register_collector(Box::new(Collection { table, readings: Box::new(readings) }));
}

impl<T: 'static> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.table.iter().map(|metric| metric.name)).finish()
    }
}

impl<T: 'static> Collector for Collection<T> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = (self.readings)();
        for metric in self.table {
            let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, metric.read.kind())?;
            for (labels, reading) in &readings {
                metric.read.encode(&mut encoder, labels, reading)?;
            }
        }
        Ok(())
    }
}

impl<T> Read<T> {
    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) | Self::Counters(..) => MetricType::Counter,
            Self::Gauge(_) | Self::Gauges(..) | Self::GaugesBy(..) => MetricType::Gauge,
            Self::Histograms(..) => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>, labels: &[(&'static str, String)], reading: &T) -> fmt::Result {
        let with =
            |name: &'static str, value: String| -> Vec<_> { labels.iter().cloned().chain([(name, value)]).collect() };
        match self {
            Self::Counter(read) => count(encoder, labels, read(reading)),
            Self::Counters(label, read) => {
                read(reading).into_iter().try_for_each(|(value, n)| count(encoder, &with(label, value), n))
            }
            Self::Gauge(read) => read(reading).map_or(Ok(()), |value| gauge(encoder, labels, value)),
            Self::Gauges(label, read) => {
                read(reading).into_iter().try_for_each(|(value, n)| gauge(encoder, &with(label, value), n))
            }
            Self::GaugesBy([one, other], read) => read(reading).into_iter().try_for_each(|([first, second], n)| {
                let mut labels = with(one, first);
                labels.push((other, second));
                gauge(encoder, &labels, n)
            }),
            Self::Histograms(label, read) => read(reading)
                .into_iter()
                .try_for_each(|(value, buckets)| histogram(encoder, &with(label, value), &buckets)),
        }
    }
}

fn histogram(encoder: &mut MetricEncoder<'_>, labels: &[(&'static str, String)], of: &Buckets) -> fmt::Result {
    encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(of.sum, of.count, &of.bounds, None)
}

fn count(encoder: &mut MetricEncoder<'_>, labels: &[(&'static str, String)], value: u64) -> fmt::Result {
    if labels.is_empty() {
        return encoder.encode_counter::<NoLabelSet, _, u64>(&value, None);
    }
    encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(encoder: &mut MetricEncoder<'_>, labels: &[(&'static str, String)], value: f64) -> fmt::Result {
    if labels.is_empty() {
        return encoder.encode_gauge(&value);
    }
    encoder.encode_family(&labels)?.encode_gauge(&value)
}

/// A Markdown list with one item for each metric that `registry` exposes. The published reference is compared with
/// it. A metric without a sample shows no labels.
///
/// # Panics
/// The registry cannot be encoded, which its tables rule out.
pub fn reference(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("tables encode");
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut list = String::new();
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).filter_map(|line| line.split_once(' '));
    for (family, help) in helps {
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {family} "))).unwrap_or_default();
        let (name, kind) = match kind {
            "counter" => (format!("{family}_total"), kind),
            "info" => (format!("{family}_info"), "gauge"),
            _ => (family.to_owned(), kind),
        };
        let sample = if kind == "histogram" { format!("{name}_count{{") } else { format!("{name}{{") };
        let labels = samples.iter().find_map(|line| line.strip_prefix(&sample)).map(label_names);
        let labels = labels.filter(|names| !names.is_empty()).map(|names| format!("{{{names}}}")).unwrap_or_default();
        let help = help.trim_end_matches('.');
        list += &wrapped(&format!("- `{name}{labels}` {kind}: {help}"), "  ", PAGE_WIDTH);
        list.push('\n');
    }
    list
}

/// Label names of a sample: `a="1",b="2"} 3` → `a,b`.
fn label_names(labels: &str) -> String {
    let inside = labels.split('}').next().unwrap_or_default();
    let names = inside.split(',').filter_map(|label| label.split_once('='));
    names.map(|(name, _)| name).collect::<Vec<_>>().join(",")
}

/// The fields of a status in JSON, sorted: `a.b` within an object, `a[].b` within a list, `<code>` for a
/// close code; for the published list, which is compared with what a process answers.
pub fn fields(status: &serde_json::Value) -> std::collections::BTreeSet<String> {
    use serde_json::Value;
    let within = |name: String, value: &Value| match (name.as_str(), fields(value)) {
        (_, inner) if inner.is_empty() => [name].into(),
        ("", inner) => inner,
        (_, inner) => inner.into_iter().map(|field| format!("{name}.{field}").replace(".[]", "[]")).collect(),
    };
    match status {
        Value::Object(entries) => {
            let code = |key: &str| if key.starts_with(char::is_uppercase) { "<code>" } else { key }.to_owned();
            entries.iter().flat_map(|(key, value)| within(code(key), value)).collect()
        }
        Value::Array(elements) => elements.iter().flat_map(|element| within("[]".to_owned(), element)).collect(),
        _ => Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Metric<u64>] = &[
        Metric { name: "causeway_a_records", help: "Records", read: Read::Counter(|&n| n) },
        Metric { name: "causeway_a_lag_records", help: "Lag", read: Read::Gauge(|&n| (n > 1).then_some(n as f64)) },
        Metric {
            name: "causeway_a_closes",
            help: "Closes",
            read: Read::Counters("code", |&n| vec![("LOST".to_owned(), n)]),
        },
        Metric {
            name: "causeway_a_stage_seconds",
            help: "Stages",
            read: Read::GaugesBy(["stage", "quantile"], |&n| vec![(["wire".to_owned(), "0.5".to_owned()], n as f64)]),
        },
        Metric {
            name: "causeway_a_latency_seconds",
            help: "Latency",
            read: Read::Histograms("stage", |&n| {
                vec![(
                    "wire".to_owned(),
                    Buckets { sum: 1.5, count: n + 1, bounds: vec![(1.0, n), (f64::INFINITY, 1)] },
                )]
            }),
        },
    ];

    fn collected(labelled: bool) -> Registry {
        let mut registry = registry();
        add(&mut registry, TABLE, move || {
            let label = |link: &str| if labelled { vec![("link", link.to_owned())] } else { Vec::new() };
            vec![(label("x"), 1), (label("y"), 2)]
        });
        registry
    }

    #[test]
    fn a_table_is_read_for_each_of_its_readings() {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &collected(true)).unwrap();
        assert!(
            text.contains(concat!("causeway_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")),
            "{text}"
        );
        assert!(
            text.contains("causeway_a_records_total{link=\"x\"} 1\ncauseway_a_records_total{link=\"y\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("causeway_a_closes_total{link=\"x\",code=\"LOST\"} 1\n"), "{text}");
        assert!(text.contains("causeway_a_stage_seconds{link=\"y\",stage=\"wire\",quantile=\"0.5\"} 2.0\n"), "{text}");
        let histogram = "causeway_a_latency_seconds_bucket{le=\"1.0\",link=\"y\",stage=\"wire\"} 2\ncauseway_a_latency_seconds_bucket{le=\"+Inf\",link=\"y\",stage=\"wire\"} 3\n";
        assert!(text.contains(histogram), "{text}");
        assert!(!text.contains("lag_records{link=\"x\"}") && text.contains("lag_records{link=\"y\"} 2.0\n"), "{text}");
    }

    #[test]
    fn the_fields_of_a_status_are_named_by_path() {
        let status =
            serde_json::json!({ "a": 1, "b": { "c": null }, "d": [{ "e": 1 }], "f": ["x"], "g": { "LOST": 2 } });
        let expected = ["a", "b.c", "d[].e", "f[]", "g.<code>"];
        assert!(fields(&status).iter().eq(expected), "{:?}", fields(&status));
    }

    #[test]
    fn the_reference_names_what_a_scrape_shows() {
        let rows = reference(&collected(true));
        assert!(
            rows.contains("- `causeway_build_info{version}` gauge: The version that is running; always 1\n"),
            "{rows}"
        );
        assert!(rows.contains("- `causeway_a_records_total{link}` counter: Records\n"), "{rows}");
        assert!(rows.contains("- `causeway_a_closes_total{link,code}` counter: Closes"), "{rows}");
        assert!(rows.contains("- `causeway_a_latency_seconds{link,stage}` histogram: Latency"), "{rows}");
        assert!(reference(&collected(false)).contains("- `causeway_a_records_total` counter: "));
    }
}
