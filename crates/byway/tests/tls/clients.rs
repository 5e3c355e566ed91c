//! Clients: certificates that clients present.

use std::io::{Read, Write};

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
fn hosts_deep_below_a_pattern_and_addresses_in_other_spellings_were_served_without_a_certificate() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["open.example", "a.b.closed.example"]);
    let clients = format!(
        "[[tls.client]]\nhosts = [\"*.closed.example\", \"[::1]\"]\nca = \"{}\"\n",
        site.path("root.pem").display()
    );
    let config = clients + &site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &config);
    let client = site.client();
    assert!(
        client
            .get(program.address(), "a.b.closed.example", "/")
            .is_err()
    );
    for host in [
        "x.closed.example",
        "a.b.closed.example",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::0001]",
    ] {
        let answer = client
            .get_as(program.address(), "open.example", host, "/")
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_host_that_requires_a_certificate_was_served_on_a_plain_address_without_one() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["open.example", "closed.example"]);
    let clients = format!(
        "[[tls.client]]\nhosts = [\"closed.example\"]\nca = \"{}\"\n",
        site.path("root.pem").display()
    );
    let listen = "name = \"web\"\nlisten = \"127.0.0.1:0\"\n";
    let program = Program::configured(
        BYWAY,
        &(clients + &site.config(&origin, &["a.pem"], listen)),
    );
    let plain = program.addresses()[0];
    let status = |host: &str| {
        let mut visitor = byway_testkit::Visitor::connect(plain);
        visitor.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        visitor.response().status()
    };
    assert_eq!(
        [status("closed.example"), status("open.example")],
        [421, 200]
    );
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

#[test]
fn a_route_is_for_the_client_certificates_that_it_names() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["a.example"]);
    let config = format!(
        "[[tls.client]]\nhosts = [\"a.example\"]\nca = \"{}\"\nmode = \"optional\"\n{}clients = [\"CN=alice\"]\n",
        site.path("root.pem").display(),
        site.config(&origin, &["a.pem"], "")
    );
    let program = Program::configured(BYWAY, &config);
    let status = |more: &[&str]| {
        let port = program.address().port();
        let (at, url) = (
            format!("a.example:{port}:127.0.0.1"),
            format!("https://a.example:{port}/"),
        );
        let mut args = vec!["-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
        args.extend(["--resolve", &at]);
        args.extend(more);
        args.push(&url);
        site.curl(&args)
    };
    let pem = |name: &str| site.client_file(name).display().to_string();
    let (alice, bob) = (pem("alice"), pem("bob"));
    for (version, answered) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for (who, code) in [
            (&["--cert", &alice][..], "200"),
            (&["--cert", &bob], "403"),
            (&[], "403"),
        ] {
            let args = [&[version], who].concat();
            assert_eq!(status(&args), (format!("{answered} {code}"), 0), "{args:?}");
        }
    }
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_proxy_over_tls_has_rules_for_client_certificates() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("proxy", &["proxy.example"]);
    let config = format!(
        "spill.mode = \"off\"\n[[tls.client]]\nhosts = [\"proxy.example\"]\nca = \"{}\"\nmode = \"optional\"\n\
         [[certificate]]\ncert = \"{}\"\n[[proxy]]\nhttps = \"127.0.0.1:0\"\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\nclient = \"CN=alice\"\n",
        site.path("root.pem").display(),
        site.path("proxy.pem").display()
    );
    let program = Program::configured(BYWAY, &config);
    let port = program.address().port();
    let (proxy, at) = (
        format!("https://proxy.example:{port}"),
        format!("proxy.example:{port}:127.0.0.1"),
    );
    let root = site.path("root.pem").display().to_string();
    let url = format!("http://{}/", origin.address());
    let (alice, bob) = (site.client_file("alice"), site.client_file("bob"));
    for (file, code) in [(&alice, "200"), (&bob, "403"), (&alice, "200")] {
        let file = file.display().to_string();
        let mut args = vec!["--proxy", &proxy, "--proxy-cacert", &root, "--resolve", &at];
        args.extend(["--proxy-cert", &file]);
        args.extend(["-o", "/dev/null", "-w", "%{http_code}", &url]);
        assert_eq!(site.curl(&args), (code.to_owned(), 0), "{file}");
    }
    assert_eq!(origin.requests().len(), 2);
    // SOCKS over TLS has the same rules: 2 is "not allowed by ruleset" (RFC 1928 section 6).
    for (client, reply) in [
        (site.client_called("alice"), 0),
        (site.client_called("bob"), 2),
    ] {
        let mut stream = client.connect(program.address(), "proxy.example").unwrap();
        let request = byway_testkit::asking::socks5(origin.address());
        stream
            .write_all(&[&[5, 1, 0], &request[..]].concat())
            .unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [5, 0, 5, reply]);
    }
}
