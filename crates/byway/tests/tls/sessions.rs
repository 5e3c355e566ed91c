//! Sessions: tickets, which clients resume sessions with.

use byway_testkit::{Origin, Program};
use rustls::HandshakeKind;

use super::BYWAY;
use super::site::{Client, Site, ask, rest};

/// How the handshake went; the response is read, so that the client gets its tickets.
fn kind(client: &Client, program: &Program, name: &str) -> std::io::Result<HandshakeKind> {
    let mut stream = client.connect(program.address(), name)?;
    ask(&mut stream, name, "/", "Connection: close\r\n")?;
    rest(&mut stream)?;
    Ok(stream.conn.handshake_kind().unwrap())
}

#[test]
fn a_session_is_resumed_on_any_worker_and_after_a_restart() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["a.example"]);
    let config = format!("workers = 4\n{}", site.config(&origin, &["a.pem"], ""));
    let mut program = Program::configured(BYWAY, &config);
    let client = site.client();
    assert_eq!(
        kind(&client, &program, "a.example").unwrap(),
        HandshakeKind::Full
    );
    // The kernel spreads connections over the workers.
    for _ in 0..16 {
        assert_eq!(
            kind(&client, &program, "a.example").unwrap(),
            HandshakeKind::Resumed
        );
    }
    program.kill_and_start_again(&config);
    assert_eq!(
        kind(&client, &program, "a.example").unwrap(),
        HandshakeKind::Resumed
    );
}

#[test]
fn no_session_outlives_a_change_of_what_clients_must_present() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &["a.example"]);
    let config = site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &config);
    let client = site.client();
    kind(&client, &program, "a.example").unwrap();
    let clients = format!(
        "[[tls.client]]\nhosts = [\"a.example\"]\nca = \"{}\"\n",
        site.path("root.pem").display()
    );
    program.reload(&(clients + &config));
    assert!(
        kind(&client, &program, "a.example").is_err(),
        "a certificate is required now"
    );
    program.reload(&config);
    assert_eq!(
        kind(&client, &program, "a.example").unwrap(),
        HandshakeKind::Resumed
    );
}

#[test]
fn the_secret_of_tickets_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let secret = program.folder().join("state/ticket-secret");
    let mode = secret.metadata().unwrap().permissions().mode();
    assert_eq!(
        (mode & 0o777, secret.metadata().unwrap().len()),
        (0o600, 32)
    );
}
