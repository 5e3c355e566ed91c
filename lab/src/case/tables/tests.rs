//! Tables: the statements about rows of samples.

use std::net::SocketAddr;

use super::super::roles::Subject;
use super::*;
use crate::load::reach::Reach;
use crate::process::CpuTime;

fn row(name: &str, role: SubjectRole, work: &[f64]) -> Row {
    let second = Duration::from_secs(1);
    let cpu = CpuTime {
        user: second / 2,
        system: second / 2,
    };
    let sample = |work: &f64| Sample {
        work: *work,
        wall: second,
        cpu: Some(cpu),
        others: 0.0,
        received: None,
    };
    let reach = Reach::Plain(SocketAddr::from(([127, 0, 0, 1], 1)));
    let subject = Subject {
        name: name.to_owned(),
        role,
        pid: None,
        reach,
        against: "byway",
        access_log: None,
    };
    let mut row = Row::new(&subject);
    row.samples = work.iter().map(sample).collect();
    row
}

#[test]
fn ratios_are_taken_round_by_round_and_a_peer_that_wins_is_named() {
    let rows = [
        row("byway", SubjectRole::Ours, &[100.0, 50.0, 100.0]),
        row("slower", SubjectRole::Peer, &[80.0, 40.0, 80.0]),
        row("faster", SubjectRole::Peer, &[200.0, 100.0, 210.0]),
    ];
    assert_eq!(ratio(&rows[1], &rows), Some(1.25));
    assert_eq!(ratio(&rows[0], &rows), None);
    assert!(
        answers(Unit::Requests, &rows[2], &rows)
            .unwrap()
            .starts_with("**faster wins**")
    );
    assert!(
        answers(Unit::Requests, &rows[1], &rows)
            .unwrap()
            .starts_with("byway wins over slower: 1.25")
    );
}

fn timed(name: &str, role: SubjectRole, p99: &[u64]) -> Row {
    let mut row = row(name, role, &[1.0]);
    let quantiles = |p99: &u64| Quantiles {
        p50: Duration::from_micros(p99 / 2),
        p99: Duration::from_micros(*p99),
    };
    row.latency = p99.iter().map(quantiles).collect();
    row
}

#[test]
fn the_p99_at_equal_load_is_compared_with_the_best_peer() {
    let offered = Offered {
        rate: 1000.0,
        slowest: "slow".into(),
        rounds: 3,
    };
    let answer = |ours: u64| {
        let rows = [
            timed("byway", SubjectRole::Ours, &[1, ours, 10_000]),
            timed("slow", SubjectRole::Peer, &[900, 900, 900]),
            timed("quick", SubjectRole::Peer, &[200, 200, 5000]),
            timed("floor", SubjectRole::Floor, &[10, 10, 10]),
        ];
        at_equal_load(&offered, &rows).unwrap()
    };
    assert!(answer(150).starts_with(
        "At 1,000 requests/s byway wins over the best peer: p99 of 150 us, quick 200 us"
    ));
    assert!(answer(210).contains("byway is within 10 % of the best peer"));
    assert!(answer(300).contains("**quick wins**"));
}

#[test]
fn an_empty_log_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let with_log = |name: &str, logged| {
        let mut row = row(name, SubjectRole::Peer, &[1.0]);
        row.subject.access_log = Some(std::sync::Arc::new(crate::access_log::AccessLog::new(
            dir.path(),
            name,
        )));
        row.logged = logged;
        row
    };
    let mut section = Section::new("t", "q");
    logs(
        &mut section,
        &[with_log("silent", 0), with_log("fine", 3_000_000)],
    );
    let text = section.markdown(None);
    assert!(
        text.contains("**silent has logged nothing**") && text.contains("fine 3 MB"),
        "{text}"
    );
}

#[test]
fn a_peer_that_takes_less_wins_where_less_is_better() {
    let answer = |mine, its| less_is_better(("byway", mine), ("peer", its), "KiB");
    assert_eq!(answer(8.0, 0.7), "**peer wins**: 8.0 KiB against 0.7.");
    assert_eq!(
        answer(4.0, 8.0),
        "byway wins over peer: 4.0 KiB against 8.0."
    );
    assert_eq!(
        answer(4.0, 4.1),
        "byway and peer are even: 4.0 KiB against 4.1."
    );
}
