//! Handshakes: what a new TLS connection costs each reverse proxy: in full, with a post-quantum key
//! exchange where the program has one, and resumed.
//!
//! In:    the environment.
//! Out:   handshakes per CPU-second of each, and what was negotiated.
//! Never: counts a handshake that the program has not finished.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Result;
use tokio::time::sleep;

use super::{HTTP1, begin, client};
use crate::case::proxy_rows::ProxyRow;
use crate::case::roles::Subject;
use crate::case::rounds::{Sample, interleave, watch};
use crate::case::tables::{self, Unit};
use crate::environment::RunEnvironment;
use crate::load::counters::Counters;
use crate::load::handshakes::{Agreed, Handshakes};
use crate::load::tls::Groups;
use crate::peers::Logs;
use crate::peers::front::{Edge, Front};
use crate::report::Section;

/// One of the three questions.
struct Question {
    title: &'static str,
    asks: &'static str,
    groups: Groups,
    resumed: bool,
}

const QUESTIONS: [Question; 3] = [
    Question {
        title: "Handshakes, full",
        asks: "How many full handshakes, X25519 with a P-256 certificate, does one CPU-second of the reverse proxy carry, 16 \
               at a time?",
        groups: Groups::Classical,
        resumed: false,
    },
    Question {
        title: "Handshakes, post-quantum",
        asks: "How many full handshakes of a client that offers X25519MLKEM768 before X25519, as browsers do, does one \
               CPU-second of the reverse proxy carry, 16 at a time?",
        groups: Groups::PostQuantum,
        resumed: false,
    },
    Question {
        title: "Handshakes, resumed",
        asks: "How many handshakes that resume a session by its ticket, with X25519, does one CPU-second of the reverse proxy \
               carry, 16 at a time?",
        groups: Groups::Classical,
        resumed: true,
    },
];

/// Measures the three questions.
pub(crate) async fn run(env: &RunEnvironment) -> Result<Vec<Section>> {
    let mut sections = Vec::with_capacity(QUESTIONS.len());
    for question in &QUESTIONS {
        env.begin_question();
        sections.push(measure(env, question).await?);
    }
    Ok(sections)
}

async fn measure(env: &RunEnvironment, question: &Question) -> Result<Section> {
    const PROXIES: [ProxyRow; 5] = [
        ProxyRow::Nginx,
        ProxyRow::NginxGiven,
        ProxyRow::Haproxy,
        ProxyRow::Caddy,
        ProxyRow::Hyper,
    ];
    let edge = Edge {
        front: Front::Tls(env.site()?.clone()),
        ..Edge::plain(env.origin(), Logs::On)
    };
    let mut roles = begin(env, &edge).await?;
    for proxy in PROXIES {
        proxy.enter(&mut roles, env, &edge).await;
    }
    let load = Handshakes {
        origin: env.origin(),
        lanes: 16,
        // Over HTTP/2 a server would also send its settings.
        tls: client(env, question.groups, HTTP1)?,
        resumed: question.resumed,
        window: env.window,
    };
    let agreed = RefCell::new(BTreeMap::new());
    let turn = async |subject: &Subject| {
        let (sample, agreed_now) = turn(env, &load, subject).await?;
        agreed.borrow_mut().insert(subject.name.clone(), agreed_now);
        Ok(sample)
    };
    let rows = interleave(env, &roles.subjects, turn).await;
    let mut section = Section::new(question.title, question.asks);
    tables::fill(&mut section, Unit::Handshakes, env, &rows, &roles, None);
    section.note(negotiated(&agreed.into_inner()));
    section.note(
        "A handshake is counted when the program's first ticket has arrived, which it sends after it has checked the \
         client's last message. The figures contain the TCP connection: it is opened and closed for each.",
    );
    roles.end().await?;
    Ok(section)
}

async fn turn(
    env: &RunEnvironment,
    load: &Handshakes,
    subject: &Subject,
) -> Result<(Sample, Agreed)> {
    let measured = async |counters: &Counters| {
        let work = async || {
            let before = counters.answered();
            sleep(load.window).await;
            Ok((counters.answered() - before) as f64)
        };
        watch(env, subject, work).await
    };
    load.run(subject.reach, measured).await
}

/// What each program has negotiated, in words.
fn negotiated(agreed: &BTreeMap<String, Agreed>) -> String {
    let of_one = |(name, agreed): (&String, &Agreed)| {
        let plural = if agreed.tickets == 1 { "" } else { "s" };
        format!(
            "{name} {:?} with {} ticket{plural}",
            agreed.group, agreed.tickets
        )
    };
    let all: Vec<String> = agreed.iter().map(of_one).collect();
    format!("Negotiated: {}.", all.join(", "))
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn the_group_and_the_tickets_of_every_program_are_stated() {
        let of = |group, tickets| Agreed { group, tickets };
        let agreed = BTreeMap::from([
            ("a".to_owned(), of(NamedGroup::X25519, 1)),
            ("b".to_owned(), of(NamedGroup::X25519MLKEM768, 2)),
        ]);
        assert_eq!(
            negotiated(&agreed),
            "Negotiated: a X25519 with 1 ticket, b X25519MLKEM768 with 2 tickets."
        );
    }
}
