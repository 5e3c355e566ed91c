//! Record: what is written down of an HTTP request once it has ended.
//!
//! In:    the request, what moved and when, and how it ended.
//! Out:   the numbers of its worker and listener; its line in the access log; a report to the agent
//!        of the service.
//! Never: reads a field unless a line or a report is wanted, and never allocates but for a report.

use tokio::time::Instant;

use byway_h1::Request;

use super::listener::{Door, Visit};
use crate::config::ListenerPlan;
use crate::exchange::forward::Moved;
use crate::observe::access::line::{Asked, Entry};
use crate::observe::ending::Ending;
use crate::observe::ledger::Tally;

/// Whose request it was.
pub struct Record<'a> {
    /// What it came through.
    pub door: &'a Door,
    /// Whose connection it came on.
    pub visit: Visit,
    /// Where the requests of its listener are counted.
    pub tally: &'a Tally,
    /// Its listener.
    pub listener: &'a ListenerPlan,
}

impl Record<'_> {
    /// It has ended now. Without a `request`, its head could not be read.
    pub fn note(&self, request: Option<&Request<'_>>, id: &str, moved: &Moved, ending: Ending) {
        let (station, course) = (self.door.scope.station(), &moved.course);
        let timers = course.timers(Instant::now());
        self.tally.note(moved.status, moved.up, moved.down);
        station.ledger.note(course, &timers, ending);
        if !station.page.is_on() && moved.reports.is_none() {
            return;
        }
        let entry = Entry {
            connection: self.visit.connection,
            request_id: id,
            listener: &self.listener.name,
            peer: self.visit.peer,
            user: course.user.as_deref(),
            asked: request.map_or(Asked::Unreadable, |request| Asked::Request {
                method: request.method(),
                target: request.target(),
                version: request.version(),
                host: request.host(),
                referer: request.field("Referer"),
                agent: request.field("User-Agent"),
            }),
            status: moved.status,
            bytes_in: moved.up,
            bytes_out: moved.down,
            timers,
            upstream: course.upstream.as_deref(),
            reused: course.reused,
            retried: course.retried,
            not_retried: course.not_retried,
            ending,
        };
        station.page.note(&entry);
        if moved
            .reports
            .as_ref()
            .is_some_and(|reports| !reports.send(&entry))
        {
            self.door.shared.counters.reports_dropped.add(1);
        }
    }
}

#[cfg(test)]
mod tests;
