//! The answers to faults in each protocol, and how a fault crosses a link.

use byway_dial::socks::ReplyCode;

use super::*;

#[test]
fn every_row_of_the_table_has_its_response_in_each_protocol() {
    use Reason::*;
    use Who::*;
    let rows = [
        (
            Downstream,
            BareCr,
            400,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (
            Downstream,
            TargetTooLarge,
            414,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (
            Downstream,
            HeadTooLarge,
            431,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (
            Downstream,
            TooManyFields,
            431,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (
            Downstream,
            Misdirected,
            421,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (
            Downstream,
            RequestRate,
            408,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (
            Upstream,
            TooManyFields,
            502,
            ReplyCode::ConnectionRefused,
            "BROKEN",
        ),
        (
            Downstream,
            BodyTooLarge,
            413,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (
            Downstream,
            RequestHead,
            408,
            ReplyCode::GeneralFailure,
            "PROTOCOL",
        ),
        (Downstream, NoRoute, 404, ReplyCode::NotAllowed, "NOT_FOUND"),
        (Downstream, Denied, 403, ReplyCode::NotAllowed, "DENIED"),
        (
            Upstream,
            NameNotFound,
            502,
            ReplyCode::HostUnreachable,
            "UNREACHABLE",
        ),
        (
            Upstream,
            Unreachable,
            502,
            ReplyCode::NetworkUnreachable,
            "UNREACHABLE",
        ),
        (
            Upstream,
            Refused,
            502,
            ReplyCode::ConnectionRefused,
            "REFUSED",
        ),
        (
            Upstream,
            Connect,
            504,
            ReplyCode::HostUnreachable,
            "TIMEOUT",
        ),
        (
            Upstream,
            FirstByte,
            504,
            ReplyCode::HostUnreachable,
            "TIMEOUT",
        ),
        (
            Upstream,
            ResponseBody,
            504,
            ReplyCode::HostUnreachable,
            "TIMEOUT",
        ),
        (
            Upstream,
            BareCr,
            502,
            ReplyCode::ConnectionRefused,
            "BROKEN",
        ),
        (Upstream, Tls, 502, ReplyCode::ConnectionRefused, "BROKEN"),
        (
            Upstream,
            ClosedEarly,
            502,
            ReplyCode::ConnectionRefused,
            "BROKEN",
        ),
        (Link, LinkLost, 502, ReplyCode::GeneralFailure, "LOST"),
        (Link, Parked, 503, ReplyCode::GeneralFailure, "LOST"),
        (Us, QueueFull, 503, ReplyCode::GeneralFailure, "BUSY"),
        (Us, Lookups, 503, ReplyCode::GeneralFailure, "BUSY"),
        (Us, MaxPerOrigin, 503, ReplyCode::GeneralFailure, "BUSY"),
        (Us, Draining, 503, ReplyCode::GeneralFailure, "BUSY"),
    ];
    for (who, reason, status, socks, link) in rows {
        let fault = Fault::new(who, reason, "");
        let answers = (
            fault.status(),
            fault.answer().socks5,
            fault.answer().link.name(),
        );
        assert_eq!(answers, (status, socks, link), "{who:?} {reason:?}");
    }
}

#[test]
fn a_fault_of_the_far_side_has_the_same_response_here_as_there() {
    for (who, reason) in [
        (Who::Downstream, Reason::NoRoute),
        (Who::Downstream, Reason::Denied),
        (Who::Upstream, Reason::NameNotFound),
        (Who::Upstream, Reason::Unreachable),
        (Who::Upstream, Reason::Refused),
        (Who::Upstream, Reason::Connect),
        (Who::Upstream, Reason::Resolve),
        (Who::Upstream, Reason::Tls),
        (Who::Upstream, Reason::ClosedEarly),
        (Who::Link, Reason::LinkLost),
        (Who::Us, Reason::Draining),
    ] {
        let there = Fault::new(who, reason, "why");
        let here = Fault::from_link(OpenError::Fault(there.to_link()));
        let answers = |fault: &Fault| (fault.status(), fault.answer().socks5, fault.detail.clone());
        assert_eq!(answers(&here), answers(&there), "{who:?} {reason:?}");
    }
}

#[test]
fn a_link_with_an_unreadable_answer_had_the_client_blamed() {
    let fault = Fault::from_link(OpenError::Bad("a message of 70,000 bytes".into()));
    assert_eq!((fault.who, fault.status()), (Who::Link, 502));
}

#[test]
fn a_description_from_the_far_side_is_one_line_of_bounded_length() {
    let there = wire::OpenFault {
        code: 0,
        class: String::new(),
        detail: "no\n2026 INFO forged\u{1b}[2J".repeat(1000),
    };
    let shown = Fault::from_link(OpenError::Fault(there)).to_string();
    assert!(
        shown.starts_with(r"no\n2026 INFO forged\u{1b}[2J")
            && shown.len() <= MOST_SENTENCE_BYTES + 3,
        "{shown}"
    );
    assert!(!shown.chars().any(char::is_control), "{shown}");
}

#[test]
fn a_limit_of_this_node_that_a_dial_reaches_is_not_the_upstreams_fault() {
    use crate::outbound::pooled::is_worth_another_upstream;
    let target: Target = "a.example:80".parse().unwrap();
    let lookups = || DialError::TooManyLookups {
        name: "a.example".parse().unwrap(),
    };
    let descriptors = || DialError::Exhausted(std::io::Error::from_raw_os_error(24));
    let by_parent = |error| {
        let source = ParentError::Dial(Box::new(error));
        DialError::Parent {
            parent: "parent.example:3128".parse().unwrap(),
            source,
        }
    };
    for (error, limit) in [
        (lookups(), Reason::Lookups),
        (by_parent(lookups()), Reason::Lookups),
        (descriptors(), Reason::Descriptors),
        (by_parent(descriptors()), Reason::Descriptors),
    ] {
        let fault = Fault::dialling(&target, error);
        let reported = (
            fault.who,
            fault.reason,
            fault.status(),
            fault.retry_after_seconds(),
        );
        assert_eq!(reported, (Who::Us, limit, 503, Some(1)), "{fault}");
        assert!(!is_worth_another_upstream(&fault), "{fault}");
    }
    let refused = DialError::Refused {
        addr: target.clone(),
        tried: 1,
    };
    let fault = Fault::dialling(&target, by_parent(refused));
    assert_eq!((fault.who, fault.status()), (Who::Upstream, 502));
}

#[test]
fn overload_has_a_retry_after() {
    let overloaded = Fault::new(Who::Us, Reason::QueueFull, "");
    assert_eq!(overloaded.retry_after_seconds(), Some(1));
    for (millis, seconds) in [(1, 1), (1000, 1), (1001, 2), (5000, 5), (3_600_000, 60)] {
        let fault = overloaded
            .clone()
            .retry_after(Duration::from_millis(millis));
        assert_eq!(fault.retry_after_seconds(), Some(seconds));
    }
    assert_eq!(
        Fault::new(Who::Upstream, Reason::Refused, "").retry_after_seconds(),
        None
    );
}
