//! Identity: fields from which an origin derives who the client is.

use super::forwarded;

fn with(fields: &str) -> byway_testkit::Message {
    forwarded(&format!(
        "GET / HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n"
    ))
}

#[test]
fn cve_2024_45410_fields_of_ours_that_a_client_lists_in_connection() {
    let names = [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "X-Request-Id",
        "Via",
        "Host",
    ];
    let request = with(&format!(
        "Connection: {}\r\nConnection: close, x-forwarded-for\r\n",
        names.join(", ")
    ));
    for name in names {
        assert!(request.field(name).is_some(), "{name}: {request:?}");
    }
}

#[test]
fn ghsa_5m6w_wvh7_57vm_forwarding_fields_of_an_untrusted_peer() {
    let forged = [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "X-Client-IP",
        "X-Request-Id",
        "Forwarded",
        "x-forwarded-for",
    ];
    let fields: String = forged
        .iter()
        .map(|name| format!("{name}: forged\r\n"))
        .collect();
    assert!(!with(&fields).head.contains("forged"));
}

#[test]
fn ghsa_f59h_q822_g45g_names_that_read_as_others_behind_cgi() {
    for name in [
        "X_Forwarded_For",
        "X.Forwarded.For",
        "x_real_ip",
        "X_Auth_User",
        "X.Auth.User",
        "X-Auth_User",
    ] {
        assert!(
            !with(&format!("{name}: forged\r\n")).head.contains("forged"),
            "{name}"
        );
    }
}

#[test]
fn credentials_for_a_proxy_stay_with_the_proxy() {
    assert!(
        !with("Proxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\n")
            .head
            .contains("Proxy-")
    );
}
