//! The metrics in the [text format of Prometheus](https://prometheus.io/docs/instrumenting/exposition_formats/).
//!
//! Each sample has the connector's name, so that those of several connectors can stand in one
//! directory of text files. No other label takes a value that is not written in this program, but for the
//! names of topics, of which there are at most [`MOST_LANES`].

use std::fmt::{Display, Write as _};

use rustix::time::{ClockId, clock_gettime};

use super::lanes::Ends;
use super::{BOUNDS_S, MOST_LANES, Metrics};
use crate::base::clock::since_unix_epoch;
use crate::observe::peer::Side;

/// The beginning of every name.
const PREFIX: &str = "postgres_source_";

/// The media type of [`render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all metrics, of the connector of this name.
pub fn render_metrics(metrics: &Metrics, connector: &str) -> String {
    let mut page = Page {
        out: String::with_capacity(8192),
        connector: escaped(connector),
    };
    page.counters(metrics);
    page.histogram(metrics);
    page.positions(metrics);
    page.state(metrics);
    page.lanes(metrics);
    page.slot(metrics);
    page.process(metrics);
    page.out
}

struct Page {
    out: String,
    connector: String,
}

impl Page {
    fn counters(&mut self, metrics: &Metrics) {
        self.head("events_total", "counter", "Events written, by type.");
        for (event_type, count) in metrics.events() {
            self.sample("events_total", Some(("type", event_type.as_str())), count);
        }
        for (name, help, number) in [
            (
                "transactions_total",
                "Transactions acknowledged by the topic, from begin to commit.",
                &metrics.transactions,
            ),
            (
                "received_bytes_total",
                "Bytes read from the replication stream.",
                &metrics.received_bytes,
            ),
            (
                "written_bytes_total",
                "Bytes of records written, before compression.",
                &metrics.written_bytes,
            ),
            (
                "records_acknowledged_total",
                "Records acknowledged by the topic.",
                &metrics.acknowledged,
            ),
            (
                "duplicates_skipped_total",
                "Messages that came again and were in the topic already.",
                &metrics.skipped,
            ),
        ] {
            self.head(name, "counter", help);
            self.sample(name, None, number.value());
        }
        self.head(
            "retries_total",
            "counter",
            "Sessions that failed and were opened anew, by cause.",
        );
        for (cause, count) in metrics.retries() {
            self.sample("retries_total", Some(("cause", cause.name())), count);
        }
    }

    fn histogram(&mut self, metrics: &Metrics) {
        const NAME: &str = "commit_to_topic_seconds";
        self.head(
            NAME,
            "histogram",
            "Time from the commit, by the clock of the server, to the acknowledgement of its record.",
        );
        let bounds = BOUNDS_S.iter().map(f64::to_string);
        let bounds = bounds.chain([String::from("+Inf")]);
        let mut count = 0;
        for (bound, more) in bounds.zip(metrics.commit_to_topic.buckets()) {
            count += more;
            self.sample(&format!("{NAME}_bucket"), Some(("le", &bound)), count);
        }
        let sum = metrics.commit_to_topic.sum().as_secs_f64();
        self.sample(&format!("{NAME}_sum"), None, sum);
        self.sample(&format!("{NAME}_count"), None, count);
    }

    /// Writes the positions that are known; none is 0.
    fn positions(&mut self, metrics: &Metrics) {
        let stored = metrics.stored().0;
        for (name, help, value) in [
            (
                "confirmed_lsn",
                "Position in the WAL that is confirmed to the server.",
                metrics.confirmed.value(),
            ),
            (
                "acknowledged_lsn",
                "Position in the WAL up to which the topic has everything.",
                stored,
            ),
            (
                "received_lsn",
                "Position in the WAL up to which everything was received.",
                metrics.received.value(),
            ),
        ] {
            if value > 0 {
                self.gauge(name, help, value);
            }
        }
        if stored > 0 {
            self.gauge(
                "lag_bytes",
                "WAL that the server is known to have and the topic does not.",
                metrics.lag_bytes(),
            );
        }
        if metrics.has_streamed() {
            self.gauge(
                "lag_seconds",
                "Age of the oldest commit that was read and is not in the topic, or else time \
                 since commits are read no more.",
                metrics.lag().as_secs_f64(),
            );
        }
    }

    fn state(&mut self, metrics: &Metrics) {
        self.gauge(
            "streaming",
            "1 while the slot is held and changes are read.",
            u8::from(metrics.is_streaming()),
        );
        self.gauge(
            "batches_in_flight",
            "Batches that were read and are not written.",
            metrics.batches_in_flight.value(),
        );
        self.head(
            "blocked_seconds",
            "gauge",
            "Time since nothing goes on without this peer; 0 while it answers.",
        );
        for side in Side::ALL {
            let waited = metrics.waits.of(side).unwrap_or_default();
            let label = Some(("peer", side.name()));
            self.sample("blocked_seconds", label, waited.as_secs_f64());
        }
    }

    /// Writes how many lanes there are, and where each ends, unless that is too many.
    fn lanes(&mut self, metrics: &Metrics) {
        let Ends { places, offsets } = metrics.lanes.get();
        self.gauge(
            "partitions",
            "Partitions of topics that are written.",
            places.len(),
        );
        if places.is_empty() || places.len() > MOST_LANES {
            return;
        }
        self.head(
            "partition_offset",
            "gauge",
            "End of a partition up to which whole transactions are acknowledged.",
        );
        for (place, offset) in places.iter().zip(&*offsets) {
            let labels = [
                ("topic", &*place.topic),
                ("partition", &place.partition.to_string()),
            ];
            self.sample_of("partition_offset", &labels, offset);
        }
    }

    /// Writes what the slot keeps; what is not known is left out.
    fn slot(&mut self, metrics: &Metrics) {
        let kept = metrics.kept();
        for (name, help, bytes) in [
            (
                "slot_retained_bytes",
                "WAL that the slot keeps on the server.",
                kept.retained_bytes,
            ),
            (
                "slot_safe_bytes",
                "WAL that may be written before the slot is lost, where there is a limit.",
                kept.safe_bytes,
            ),
        ] {
            if let Some(bytes) = bytes {
                self.gauge(name, help, bytes);
            }
        }
        if let Some(is_lost) = kept.is_lost {
            let help = "1 when the slot has lost WAL that it needs, or is gone.";
            self.gauge("slot_lost", help, u8::from(is_lost));
        }
    }

    fn process(&mut self, metrics: &Metrics) {
        self.gauge(
            "start_time_seconds",
            "When the process began, in seconds since 1970-01-01 UTC.",
            metrics.began().as_secs_f64(),
        );
        self.gauge(
            "written_timestamp_seconds",
            "When these numbers were written down, in seconds since 1970-01-01 UTC.",
            since_unix_epoch().as_secs_f64(),
        );
        // Not `process_...`: in a text file that name would be taken by the node exporter itself.
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        self.head("cpu_seconds_total", "counter", "CPU time of the process.");
        let cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        self.sample("cpu_seconds_total", None, cpu_s);
        if let Some(bytes) = resident_bytes() {
            self.gauge("resident_memory_bytes", "Memory of the process.", bytes);
        }
        self.head("build_info", "gauge", "The version, as a label.");
        let version = env!("CARGO_PKG_VERSION");
        self.sample("build_info", Some(("version", version)), 1);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, None, value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(
            self.out,
            "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: impl Display) {
        self.sample_of(name, label.as_slice(), value);
    }

    fn sample_of(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let connector = &self.connector;
        let label = |(name, value): &(&str, &str)| format!(",{name}=\"{value}\"");
        let labels: String = labels.iter().map(label).collect();
        let _ = writeln!(
            self.out,
            "{PREFIX}{name}{{connector=\"{connector}\"{labels}}} {value}"
        );
    }
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The memory of this process, as Linux says it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lsn::Lsn;
    use crate::observe::metrics::Kept;
    use crate::sink::fluvio::LanePlace;

    #[test]
    fn names_are_escaped() {
        let page = render_metrics(&Metrics::default(), "a\"b\\c\nd");
        let line = "postgres_source_streaming{connector=\"a\\\"b\\\\c\\nd\"} 0\n";
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn lanes_have_samples_of_their_own_up_to_a_bound() {
        let metrics = Metrics::default();
        let place = |partition| LanePlace {
            topic: "t".into(),
            partition,
        };
        for (lanes, samples) in [(2, 2), (MOST_LANES, MOST_LANES), (MOST_LANES + 1, 0)] {
            let places: Vec<LanePlace> = (0..lanes as u32).map(place).collect();
            metrics.lanes.open(&places, &vec![7; lanes].into());
            metrics.lanes.end_at(&vec![8; lanes].into());
            let page = render_metrics(&metrics, "c");
            assert!(page.contains(&format!("_partitions{{connector=\"c\"}} {lanes}\n")));
            let sample = "partition_offset{connector=\"c\",topic=\"t\",partition=";
            assert_eq!(page.matches(sample).count(), samples, "{lanes}");
            assert_eq!(page.contains("partition=\"1\"} 8\n"), samples > 0);
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let metrics = Metrics::default();
        let page = render_metrics(&metrics, "c");
        for part in ["_slot_", "_lsn", "_lag_"] {
            assert!(!page.contains(part), "{page}");
        }
        metrics.set_kept(Kept {
            retained_bytes: Some(0),
            safe_bytes: None,
            is_lost: Some(false),
        });
        let page = render_metrics(&metrics, "c");
        assert!(page.contains("slot_retained_bytes{connector=\"c\"} 0\n"));
        assert!(page.contains("slot_lost{connector=\"c\"} 0\n"));
        assert!(!page.contains("slot_safe_bytes"));
        // How far behind a topic is that was never reached, in bytes; not in time.
        metrics.slot_is_at(Lsn(90), Lsn(100));
        let page = render_metrics(&metrics, "c");
        assert!(page.contains("lag_bytes{connector=\"c\"} 10\n"));
        assert!(!page.contains("lag_seconds"));
    }
}
