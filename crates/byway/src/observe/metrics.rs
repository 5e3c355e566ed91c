//! Metrics: request counts and timings of one worker; `ListenerMetrics` are those of one listener.
//!
//! In:    a request that has ended, from the worker's own thread.
//! Out:   numbers that any thread may read while they grow.
//! Never: shares a cache line with another worker's, and never waits for a reader.

use byway_head::Version;

use super::counters::LocalCounter;
use super::ending::Ending;
use super::histogram::Histogram;
use super::outcomes::Outcomes;
use super::timing::{Timers, Timing};

/// Durations, in microseconds, and outcomes of the requests and tunnels of one worker. Only its
/// thread may write them; any thread may read them.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// From the end of the request's head to the end of the request.
    pub duration: Histogram,
    /// From the connection to the head of the final response.
    pub first_byte: Histogram,
    /// Opening a connection, for requests that had one opened.
    pub connect: Histogram,
    /// Waiting for a connection.
    pub queue: Histogram,
    /// How requests and tunnels ended.
    pub outcomes: Outcomes,
    /// Requests whose head was read, in the order of [`VERSIONS`].
    pub versions: [LocalCounter; VERSIONS.len()],
}

/// The versions of HTTP in the metrics.
pub const VERSIONS: [Version; 4] = [
    Version::Http10,
    Version::Http11,
    Version::Http2,
    Version::Http3,
];

impl WorkerMetrics {
    /// Counts a request of this version.
    pub fn note_version(&self, version: Version) {
        let place = match version {
            Version::Http10 => 0,
            Version::Http11 => 1,
            Version::Http2 => 2,
            Version::Http3 => 3,
        };
        if let Some(count) = self.versions.get(place) {
            count.add(1);
        }
    }

    /// Counts a request.
    pub fn note(&self, timing: &Timing, timers: &Timers, ending: Ending) {
        self.duration.note(timers.total_us());
        if timing.has_queued() {
            self.queue.note(timers.queue_us);
        }
        if timing.has_dialled() {
            self.connect.note(timers.connect_us);
        }
        if timing.is_answered() {
            self.first_byte.note(timers.first_byte_us);
        }
        self.outcomes.note(ending);
    }
}

/// Requests of one listener on one worker. Aligned, so that the metrics of two workers share no
/// cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerMetrics {
    /// Requests by the first digit of their status, from 1 to 5; the first entry is for those
    /// without any.
    codes: [LocalCounter; CODES.len()],
    /// Bytes of request bodies, delivered to upstreams.
    bytes_in: LocalCounter,
    /// Bytes of response bodies, delivered to downstreams.
    bytes_out: LocalCounter,
}

/// The label of each class of status in the metrics.
pub const CODES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl ListenerMetrics {
    /// Counts a request whose response had `status`; 0 for no response.
    pub fn note(&self, status: u16, bytes_in: u64, bytes_out: u64) {
        let class = usize::from(status / 100);
        if let Some(count) = self.codes.get(if class < CODES.len() { class } else { 0 }) {
            count.add(1);
        }
        self.bytes_in.add(bytes_in);
        self.bytes_out.add(bytes_out);
    }

    /// Adds the numbers to `sum`.
    pub fn add_to(&self, sum: &mut ListenerTotals) {
        for (to, from) in sum.codes.iter_mut().zip(&self.codes) {
            *to += from.value();
        }
        sum.bytes_in += self.bytes_in.value();
        sum.bytes_out += self.bytes_out.value();
    }
}

/// The sum of listener metrics at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerTotals {
    /// Requests, in the order of [`CODES`].
    pub codes: [u64; CODES.len()],
    /// See [`ListenerMetrics`].
    pub bytes_in: u64,
    /// See [`ListenerMetrics`].
    pub bytes_out: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_a_count_of_its_own() {
        let metrics = WorkerMetrics::default();
        for version in VERSIONS {
            metrics.note_version(version);
        }
        assert!(metrics.versions.iter().all(|count| count.value() == 1));
    }

    #[test]
    fn requests_are_counted_by_the_class_of_their_status() {
        let listener_metrics = ListenerMetrics::default();
        for status in [200, 204, 302, 404, 502, 101, 0, 999] {
            listener_metrics.note(status, 1, 10);
        }
        let mut sum = ListenerTotals::default();
        listener_metrics.add_to(&mut sum);
        listener_metrics.add_to(&mut sum);
        assert_eq!(
            sum,
            ListenerTotals {
                codes: [4, 2, 4, 2, 2, 2],
                bytes_in: 16,
                bytes_out: 160
            }
        );
    }
}
