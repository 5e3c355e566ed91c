//! Clients: certificates that clients present.

use byway_testkit::{Origin, Program};

use super::BYWAY;
use super::site::Site;

fn program(site: &Site, origin: &Origin, mode: &str) -> Program {
    site.issue("a", &["open.example", "closed.example"]);
    let clients = format!(
        "[[tls.client]]\nhosts = [\"closed.example\"]\nca = \"{}\"\nmode = \"{mode}\"\n",
        site.path("root.pem").display()
    );
    Program::configured(BYWAY, &(clients + &site.config(origin, &["a.pem"], "")))
}

#[test]
fn a_host_that_requires_a_certificate_gets_one_and_tells_the_origin_whose() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "required");
    let (alice, nobody) = (site.client_called("alice"), site.client());
    let answer = alice.get(program.address(), "closed.example", "/").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let field = origin.requests()[0]
        .field("Client-Cert")
        .unwrap()
        .to_owned();
    assert!(field.starts_with(':') && field.ends_with(':'), "{field}");

    // TLS 1.3: the client learns of the refusal when it reads.
    assert!(
        nobody
            .get(program.address(), "closed.example", "/")
            .is_err()
    );
    let answer = nobody.get(program.address(), "open.example", "/").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(origin.requests()[1].field("Client-Cert"), None);
}

#[test]
fn a_session_without_a_certificate_does_not_reach_a_host_that_requires_one() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "required");
    let client = site.client();
    let answer = client
        .get_as(program.address(), "open.example", "closed.example", "/")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_optional_certificate_is_optional_and_a_forged_field_is_dropped() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "optional");
    let mut stream = site
        .client()
        .connect(program.address(), "closed.example")
        .unwrap();
    let forged =
        "Client-Cert: :bWFsbG9yeQ==:\r\nClient-Cert-Chain: :bQ==:\r\nConnection: close\r\n";
    super::site::ask(&mut stream, "closed.example", "/", forged).unwrap();
    let answer = super::site::rest(&mut stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let request = &origin.requests()[0];
    for name in ["Client-Cert", "Client-Cert-Chain"] {
        assert_eq!(request.field(name), None, "{name}");
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = program(&site, &origin, "required");
    // A client that trusts the server and shows a certificate of its own authority.
    let other = Site::new().client_called("mallory");
    let mut config = (*site.client().config).clone();
    config.client_auth_cert_resolver =
        std::sync::Arc::clone(&other.config.client_auth_cert_resolver);
    let mallory = super::site::Client {
        config: std::sync::Arc::new(config),
    };
    assert!(
        mallory
            .get(program.address(), "closed.example", "/")
            .is_err()
    );
    program.wait_for_log("class=\"client_certificate\"");
}
