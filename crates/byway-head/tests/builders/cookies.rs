//! Crumbs of a cookie become one field (RFC 9113 section 8.2.3).

use byway_head::{Limits, Malformed};

use crate::{GET, get, request_within};

fn cookies(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let built = get(fields).unwrap();
    for line in built.view().lines() {
        assert!(line.sent().is_some(), "{line:?}");
    }
    built.fields()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn crumbs_that_follow_each_other_are_joined_in_their_place() {
    let fields = [
        ("a", "1"),
        ("cookie", "x=1"),
        ("cookie", "y=22"),
        ("cookie", ""),
        ("b", "2"),
    ];
    assert_eq!(
        cookies(&fields),
        [pair("a", "1"), pair("cookie", "x=1; y=22"), pair("b", "2")]
    );
}

#[test]
fn crumbs_with_other_fields_between_them_are_joined_last() {
    let fields = [
        ("cookie", "x=1"),
        ("a", "1"),
        ("cookie", "y"),
        ("cookie", "z"),
        ("b", "2"),
    ];
    assert_eq!(
        cookies(&fields),
        [pair("a", "1"), pair("b", "2"), pair("cookie", "x=1; y; z")]
    );
}

#[test]
fn an_empty_crumb_adds_nothing() {
    for between in [&[][..], &[("a", "1")]] {
        for (crumbs, joined) in [(["", "x"], "x"), (["x", ""], "x"), (["", ""], "")] {
            let [first, last] = crumbs.map(|crumb| ("cookie", crumb));
            let fields = [&[first], between, &[last]].concat();
            let cookie = cookies(&fields)
                .into_iter()
                .find(|field| field.0 == "cookie");
            assert_eq!(cookie, Some(pair("cookie", joined)), "{fields:?}");
        }
    }
}

#[test]
fn one_cookie_stays_where_it_is() {
    let fields = [("cookie", "x=1; y=2"), ("a", "1")];
    assert_eq!(
        cookies(&fields),
        [pair("cookie", "x=1; y=2"), pair("a", "1")]
    );
}

#[test]
fn many_crumbs_in_a_row_count_as_one_field() {
    let crumbs = vec![("cookie", "name=value"); 1000];
    let joined = cookies(&crumbs);
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].1, ["name=value"; 1000].join("; "));
}

#[test]
fn a_crumb_with_a_bad_byte_is_refused() {
    let pseudo = GET
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let crumbs = [(&b"cookie"[..], &b"a"[..]), (b"cookie", b"b\r\nx: y")];
    let fields: Vec<_> = pseudo.chain(crumbs).collect();
    let error = request_within(&Limits::default(), &fields, true).unwrap_err();
    assert!(
        matches!(error, Malformed::ValueByte { byte: b'\r', .. }),
        "{error:?}"
    );
}
