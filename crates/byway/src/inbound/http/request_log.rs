//! Request log: records an HTTP request once it has ended.
//!
//! In:    the request, what moved and when, and how it ended.
//! Out:   the metrics of its worker and listener; its line in the access log; a report to the agent
//!        of the service.
//! Never: reads a field unless a line or a report is required, or allocates except for a report.

use tokio::time::Instant;

use byway_head::Request;

use super::super::context::{ConnectionContext, ConnectionInfo};
use crate::config::FrontendPlan;
use crate::exchange::exchange_request::RequestRecord;
use crate::observe::access::line::{Entry, EntrySubject};
use crate::observe::ending::Ending;
use crate::observe::metrics::ListenerMetrics;

/// What a record needs besides the request.
pub struct RequestLog<'a> {
    /// What its connection may use.
    pub context: &'a ConnectionContext,
    /// The connection that it came on.
    pub info: &'a ConnectionInfo,
    /// Where the requests of its listener are counted.
    pub listener_metrics: &'a ListenerMetrics,
    /// Name and limits of its connections.
    pub frontend: &'a FrontendPlan,
}

impl RequestLog<'_> {
    /// Records its end. Without a `request`, its head was malformed.
    pub fn note(
        &self,
        request: Option<&Request<'_>>,
        id: &str,
        record: &RequestRecord,
        ending: Ending,
    ) {
        let (worker_stats, timing) = (&self.context.worker_stats, &record.timing);
        let timers = timing.timers(Instant::now());
        self.listener_metrics
            .note(record.status, record.up, record.down);
        worker_stats.metrics.note(timing, &timers, ending);
        if let Some(request) = request {
            worker_stats.metrics.note_version(request.version());
        }
        if !worker_stats.log_buffer.is_on() && record.reports.is_none() {
            return;
        }
        let entry = Entry {
            connection: self.info.connection,
            request_id: id,
            listener: &self.frontend.name,
            peer: self.info.peer,
            user: timing.user.as_deref(),
            tls: self.info.tls_entry(),
            subject: request.map_or(EntrySubject::Unreadable, |request| EntrySubject::Request {
                method: request.method(),
                target: request.target(),
                version: request.version(),
                host: request.host(),
                referer: request.field("Referer"),
                agent: request.field("User-Agent"),
            }),
            status: record.status,
            bytes_in: record.up,
            bytes_out: record.down,
            timers,
            upstream: timing.upstream.as_deref(),
            reused: timing.reused,
            retried: timing.retried,
            not_retried: timing.not_retried,
            ending,
        };
        worker_stats.log_buffer.note(&entry);
        if record
            .reports
            .as_ref()
            .is_some_and(|reports| !reports.send(&entry))
        {
            self.context.counters().reports_dropped.add(1);
        }
    }
}

#[cfg(test)]
mod tests;
