//! Report: the record of a request, sent from the public end that served it to the agent of the
//! service.
//!
//! In:    at the public end: the `Entry` of its access log. At the agent: a `Visited` message.
//! Out:   the message, with its texts cut; the `Entry` for the agent's access log, with every field
//!        checked.
//! Never: waits for a link, and never lets a peer choose a word that is logged unescaped.

use std::net::SocketAddr;

use byway_head::Version;
use byway_link::Link;
use byway_link::wire::Visited;

use crate::config::{ServiceKind, ServicePlan};
use crate::fault::{Reason, Who};
use crate::observe::access::line::{Entry, EntrySubject};
use crate::observe::ending::Ending;
use crate::observe::timing::{Phase, Timers};

/// The most bytes of a target in a report.
const TARGET_BYTES: usize = 1024;

/// The most bytes of a host, a Referer or a User-Agent in a report.
const FIELD_BYTES: usize = 256;

/// The most bytes of a method in a report.
const METHOD_BYTES: usize = 32;

/// The longest time accepted from a report, in microseconds: the sum of four still fits.
const MOST_US: u64 = u64::MAX / 4;

/// The destination of reports of requests on one stream: the agent that opened it.
#[derive(Debug)]
pub struct Reports {
    link: Link,
    service: u32,
}

impl Reports {
    /// Reports to the agent behind `link`, for its service with this number.
    pub const fn new(link: Link, service: u32) -> Self {
        Self { link, service }
    }

    /// Reports a request that has ended. `false`: the report was dropped.
    pub fn send(&self, entry: &Entry<'_>) -> bool {
        self.link.report(Box::new(visited(entry, self.service)))
    }
}

fn visited(entry: &Entry<'_>, service: u32) -> Visited {
    let mut visited = Visited {
        service,
        visitor: entry.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        id: entry.request_id.to_owned(),
        status: entry.status.into(),
        in_bytes: entry.bytes_in,
        out_bytes: entry.bytes_out,
        queue_us: entry.timers.queue_us,
        connect_us: entry.timers.connect_us,
        first_byte_us: entry.timers.first_byte_us,
        transfer_us: entry.timers.transfer_us,
        reused: entry.reused,
        retried: entry.retried,
        end: entry.ending.reason.word().to_owned(),
        end_who: entry
            .ending
            .who
            .map(|who| who.word().to_owned())
            .unwrap_or_default(),
        end_phase: entry.ending.phase.to_owned(),
        ..Visited::default()
    };
    if let EntrySubject::Request {
        method,
        target,
        version,
        host,
        referer,
        agent,
    } = entry.subject
    {
        visited.method = cut(method, METHOD_BYTES);
        visited.target = cut(target, TARGET_BYTES);
        visited.is_http10 = version == Version::Http10;
        visited.http_major = match version {
            Version::Http10 | Version::Http11 => 0,
            Version::Http2 => 2,
            Version::Http3 => 3,
        };
        visited.host = host.map(|host| cut(host, FIELD_BYTES));
        visited.referer = referer.map(|referer| cut(referer, FIELD_BYTES));
        visited.agent = agent.map(|agent| cut(agent, FIELD_BYTES));
    }
    visited
}

/// The text, or its beginning followed by dots.
fn cut(text: &[u8], most: usize) -> Vec<u8> {
    match text.get(..most) {
        Some(start) if text.len() > most => [start, b"..."].concat(),
        _ => text.to_vec(),
    }
}

/// Writes the log line of a request to `service` that `visited` reports, with `note`. `false`: the
/// message is invalid, and there is no line.
pub fn note(
    visited: &Visited,
    service: &ServicePlan,
    listener: &str,
    note: impl FnOnce(&Entry<'_>),
) -> bool {
    let peer = match visited.visitor.as_str() {
        "" => None,
        text => match text.parse::<SocketAddr>() {
            Ok(peer) => Some(peer),
            Err(_) => return false,
        },
    };
    let status = match u16::try_from(visited.status) {
        Ok(status @ 0..=999) if service.kind == ServiceKind::Http => status,
        _ => return false,
    };
    let upstream = service.to.to_string();
    note(&Entry {
        connection: 0,
        request_id: &visited.id,
        listener,
        peer,
        user: None,
        tls: None,
        subject: EntrySubject::Request {
            method: &visited.method,
            target: &visited.target,
            version: match (visited.http_major, visited.is_http10) {
                (3.., _) => Version::Http3,
                (2, _) => Version::Http2,
                (_, true) => Version::Http10,
                (_, false) => Version::Http11,
            },
            host: visited.host.as_deref(),
            referer: visited.referer.as_deref(),
            agent: visited.agent.as_deref(),
        },
        status,
        bytes_in: visited.in_bytes,
        bytes_out: visited.out_bytes,
        timers: Timers {
            queue_us: visited.queue_us.min(MOST_US),
            connect_us: visited.connect_us.min(MOST_US),
            first_byte_us: visited.first_byte_us.min(MOST_US),
            transfer_us: visited.transfer_us.min(MOST_US),
        },
        upstream: Some(&upstream),
        reused: visited.reused,
        retried: visited.retried,
        not_retried: None,
        ending: ending(visited),
    });
    true
}

/// The words of an ending are fixed: one that this version does not know becomes `other`.
fn ending(visited: &Visited) -> Ending {
    let who = Who::ALL
        .into_iter()
        .find(|who| who.word() == visited.end_who);
    let phases = [
        Phase::Queue,
        Phase::Connect,
        Phase::FirstByte,
        Phase::Transfer,
    ]
    .map(Phase::word);
    let phase = phases
        .into_iter()
        .find(|phase| *phase == visited.end_phase)
        .unwrap_or(Reason::Other.word());
    Ending {
        who,
        reason: Reason::from_word(&visited.end).unwrap_or(Reason::Other),
        phase,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::access::clock::Dates;

    fn service(kind: ServiceKind) -> ServicePlan {
        ServicePlan {
            kind,
            name: "app".into(),
            port: None,
            host: None,
            to: "127.0.0.1:3000".parse().unwrap(),
        }
    }

    /// The line in the combined format and in JSON.
    fn lines(visited: &Visited) -> Option<[String; 2]> {
        let mut lines = [Vec::new(), Vec::new()];
        let is_good = note(visited, &service(ServiceKind::Http), "app", |entry| {
            entry.combined(&mut lines[0], &mut Dates::default(), Duration::ZERO);
            entry.json(&mut lines[1], &mut Dates::default(), Duration::ZERO);
        });
        is_good.then(|| lines.map(|line| String::from_utf8(line).unwrap()))
    }

    #[test]
    fn a_report_of_a_hostile_server_is_escaped_and_its_numbers_overflow_nothing() {
        let evil = b"/\"\r\n127.0.0.1 - - [";
        let visited = Visited {
            service: 1,
            visitor: "192.0.2.1:4711".into(),
            id: "\"\n".into(),
            method: b"G\nT".to_vec(),
            target: evil.to_vec(),
            host: Some(evil.to_vec()),
            referer: Some(evil.to_vec()),
            agent: Some(b"\x1b[31m".to_vec()),
            status: 999,
            in_bytes: u64::MAX,
            out_bytes: u64::MAX,
            queue_us: u64::MAX,
            connect_us: u64::MAX,
            first_byte_us: u64::MAX,
            transfer_us: u64::MAX,
            end: "\"\nmine".into(),
            end_who: "\"\nme".into(),
            end_phase: "\"\nnow".into(),
            ..Visited::default()
        };
        for line in lines(&visited).unwrap() {
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(
                line.trim_end()
                    .bytes()
                    .all(|byte| matches!(byte, b' '..=b'~')),
                "{line}"
            );
            assert!(!line.contains("mine"), "{line}");
        }
        for bad in [
            Visited {
                visitor: "invalid".into(),
                ..visited.clone()
            },
            Visited {
                status: 1000,
                ..visited.clone()
            },
            Visited {
                status: u32::MAX,
                ..visited.clone()
            },
        ] {
            assert_eq!(lines(&bad), None, "{bad:?}");
        }
        assert!(!note(
            &visited,
            &service(ServiceKind::Tcp),
            "app",
            |_| panic!("a line of a TCP service")
        ));
    }

    #[test]
    fn the_texts_of_a_report_are_cut_whatever_the_visitor_sends() {
        let long = vec![b'x'; 1 << 16];
        let entry = Entry {
            connection: 1,
            request_id: "id",
            listener: "public",
            peer: Some("[2001:db8::1]:443".parse().unwrap()),
            user: None,
            tls: None,
            subject: EntrySubject::Request {
                method: &long,
                target: &long,
                version: Version::Http10,
                host: Some(&long),
                referer: Some(&long),
                agent: Some(&long),
            },
            status: 404,
            bytes_in: 1,
            bytes_out: 2,
            timers: Timers::default(),
            upstream: None,
            reused: true,
            retried: false,
            not_retried: None,
            ending: Ending {
                who: Some(Who::Upstream),
                reason: Reason::Reset,
                phase: "transfer",
            },
        };
        let visited = visited(&entry, 7);
        let mut bytes = Vec::new();
        byway_link::wire::encode(&visited, &mut bytes);
        let bytes = bytes.len();
        assert!(bytes < 2500, "{bytes}");
        assert!(visited.target.ends_with(b"xx...") && visited.service == 7);
        let [combined, json] = lines(&visited).unwrap();
        assert!(
            combined.starts_with("2001:db8::1 - - [") && combined.contains("... HTTP/1.0\" 404 2 "),
            "{combined}"
        );
        let end = "\"reused\":true,\"retried\":false,\"not_retried\":null,\"end\":\"reset\",\"end_who\":\"upstream\",\
                   \"end_phase\":\"transfer\"}\n";
        assert!(json.ends_with(end), "{json}");
    }
}
