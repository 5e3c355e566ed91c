use byway_testkit::{Origin, Pebble, PebbleOptions, Program, RecordServer, eventually, pebble};

use super::{BYWAY, alone, byway, curl};

/// Ports of the sites, to which the authority connects, too.
const HTTP: &str = "5002";
const HTTPS: &str = "5001";

fn resolve(host: &str, port: &str) -> String {
    format!("{host}:{port}:127.0.0.1")
}

/// The root of what the authority issues, as a file.
fn root_file(pebble: &Pebble, folder: &std::path::Path) -> String {
    let path = folder.join("root.pem");
    std::fs::write(&path, pebble.root()).unwrap();
    path.display().to_string()
}

#[test]
fn one_command_serves_a_name_with_a_certificate_that_it_got_by_itself() {
    let Some(tools) = pebble::folder() else {
        return;
    };
    alone!(&tools);
    let pebble = Pebble::start(&PebbleOptions::default());
    let _dns = RecordServer::start();
    let origin = Origin::named("hello");
    let ca = pebble.https_root().display().to_string();
    let to = origin.address().to_string();
    let args = [
        "edge",
        "--listen",
        "site.example.com",
        "--listen",
        "www.example.com",
        "--to",
        &to,
        "--http-port",
        HTTP,
        "--https-port",
        HTTPS,
        "--acme-directory",
        &pebble.directory(),
        "--acme-ca",
        &ca,
        "--email",
        "admin@example.com",
        "--metrics",
        "127.0.0.1:9100",
    ];
    let program = Program::start(BYWAY, &args);
    let root = root_file(&pebble, program.folder());
    // The first client may come before the certificate: its handshake waits.
    for host in ["site.example.com", "www.example.com"] {
        let url = format!("https://{host}:{HTTPS}/");
        let page = curl(&["--cacert", &root, "--resolve", &resolve(host, HTTPS), &url]);
        assert!(page.contains("hello"), "{page}");
    }
    program.wait_for_log("obtained a certificate");
    let plain = format!("http://site.example.com:{HTTP}/a?b");
    let redirect = curl(&[
        "--resolve",
        &resolve("site.example.com", HTTP),
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        &plain,
    ]);
    assert_eq!(
        redirect,
        format!("308 https://site.example.com:{HTTPS}/a?b")
    );
    let metrics = curl(&["http://127.0.0.1:9100/metrics"]);
    for line in [
        "byway_acme_certificates_obtained_total 2",
        "byway_acme_missing 0",
        "byway_certificate_expiry_timestamp_seconds{source=\"acme\",certificate=\"site.example.com\"}",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    // A name without a route gets no certificate and no page.
    let other = std::process::Command::new("curl")
        .args([
            "-sS",
            "--cacert",
            &root,
            "--resolve",
            &resolve("x.example.com", HTTPS),
        ])
        .arg(format!("https://x.example.com:{HTTPS}/"))
        .output()
        .unwrap();
    assert!(!other.status.success());
}

/// A config whose routes give the names. `ca` outlives the authority.
fn config(pebble: &Pebble, ca: &std::path::Path, origin: &Origin, more: &str) -> String {
    std::fs::copy(pebble.https_root(), ca).unwrap();
    format!(
        "[[acme]]\nagree = true\ndirectory = \"{}\"\nca = \"{}\"\n{more}\n\
         [[edge]]\nlisten = \"127.0.0.1:{HTTP}\"\nhttps = \"127.0.0.1:{HTTPS}\"\n\
         redirect_to_https = true\n\
         [[edge.route]]\nhosts = [\"site.example.com\", \"*.any.example.com\"]\nto = \"{}\"\n",
        pebble.directory(),
        ca.display(),
        origin.address(),
    )
}

#[test]
fn names_of_routes_get_certificates_which_a_restart_uses_without_the_authority() {
    let Some(tools) = pebble::folder() else {
        return;
    };
    alone!(&tools);
    let dns = RecordServer::start();
    let origin = Origin::named("hello");
    let pebble = Pebble::start(&PebbleOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let text = config(
        &pebble,
        &folder.path().join("ca.pem"),
        &origin,
        "challenge = \"http-01\"\non_demand = \"routes\"",
    );
    let mut program = Program::configured(BYWAY, &text);
    let root = root_file(&pebble, program.folder());
    let get = |host: &str| {
        let url = format!("https://{host}:{HTTPS}/");
        curl(&["--cacert", &root, "--resolve", &resolve(host, HTTPS), &url])
    };
    assert!(get("site.example.com").contains("hello"));
    assert!(get("new.any.example.com").contains("hello"), "on demand");
    let checked = byway(&[
        "check",
        "-c",
        &program.folder().join("byway.toml").display().to_string(),
    ]);
    let said = format!(
        "certificates for site.example.com would be requested from {}",
        pebble.directory()
    );
    assert!(checked.contains(&said), "{checked}");
    // The authority is away: what was obtained is served from the first handshake on.
    drop((pebble, dns));
    program.kill_and_start_again(&text);
    assert!(get("site.example.com").contains("hello"));
    assert!(get("new.any.example.com").contains("hello"));
}

#[test]
fn a_refused_name_is_logged_with_its_reason_and_delays_nothing_else() {
    let Some(tools) = pebble::folder() else {
        return;
    };
    alone!(&tools);
    let _dns = RecordServer::start();
    let origin = Origin::named("hello");
    let pebble = Pebble::start(&PebbleOptions {
        blocked: vec!["site.example.com".to_owned()],
        ..PebbleOptions::default()
    });
    let more = "names = [\"good.example.com\"]\n[metrics]\nlisten = \"127.0.0.1:9100\"";
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let program = Program::configured(BYWAY, &config(&pebble, &ca, &origin, more));
    let line = program.wait_for_log("cannot obtain a certificate");
    for word in [
        "site.example.com",
        "class=\"name\"",
        "rejectedIdentifier",
        "next_try_seconds",
    ] {
        assert!(line.contains(word), "{word} in {line}");
    }
    eventually("the other name has its certificate", || {
        curl(&["http://127.0.0.1:9100/metrics"])
            .contains("byway_acme_certificates_obtained_total 1")
    });
    let metrics = curl(&["http://127.0.0.1:9100/metrics"]);
    for line in [
        "byway_acme_failures_total{kind=\"name\"} 1",
        "byway_acme_failures_in_a_row{name=\"site.example.com\"} 1",
        "byway_acme_missing 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    // Plain requests for paths that look like challenges go to the routes.
    let url = format!("http://127.0.0.1:{HTTP}/.well-known/acme-challenge/unknown");
    let code = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert_eq!(code, "308", "no challenge has this token");
}

#[test]
fn an_exposed_service_gets_its_certificate_when_its_agent_is_connected() {
    let Some(tools) = pebble::folder() else {
        return;
    };
    alone!(&tools);
    serve_an_exposed_service(|pebble| Program::configured(BYWAY, &on_demand_config(pebble)));
}

#[test]
fn one_command_is_the_public_end_of_services_with_certificates_that_it_gets_by_itself() {
    let Some(tools) = pebble::folder() else {
        return;
    };
    alone!(&tools);
    serve_an_exposed_service(|pebble| {
        let https = format!("127.0.0.1:{HTTPS}");
        let ca = pebble.https_root().display().to_string();
        let directory = pebble.directory();
        let mut args = vec!["serve", "--listen", "127.0.0.1:7000"];
        args.extend(["--https", &https, "--domain", "t.example.com"]);
        args.extend(["--advertise", "127.0.0.1:7000"]);
        args.extend(["--acme-directory", &directory, "--acme-ca", &ca]);
        Program::start(BYWAY, &args)
    });
}

fn on_demand_config(pebble: &Pebble) -> String {
    format!(
        "[[acme]]\nagree = true\ndirectory = \"{}\"\nca = \"{}\"\non_demand = \"services\"\n\
         [[serve]]\nlisten = \"127.0.0.1:7000\"\nadvertise = \"127.0.0.1:7000\"\n\
         domain = \"t.example.com\"\nhttps = \"127.0.0.1:{HTTPS}\"\n",
        pebble.directory(),
        pebble.https_root().display(),
    )
}

/// A name has a certificate if the agent that exposes it is connected, and only then.
fn serve_an_exposed_service(start: impl FnOnce(&Pebble) -> Program) {
    let _dns = RecordServer::start();
    let origin = Origin::named("hello");
    let pebble = Pebble::start(&PebbleOptions::default());
    let program = start(&pebble);
    let root = root_file(&pebble, program.folder());
    let join = program
        .folder()
        .join("state/join-serve")
        .display()
        .to_string();
    let to = origin.address().to_string();
    let args = ["http", &to, "--name", "app", "--join-file", &join];
    let agent = Program::start(BYWAY, &args);
    agent.wait_for_stdout("https://app.t.example.com");
    let get = |host: &str| {
        std::process::Command::new("curl")
            .args(["-sS", "--max-time", "60", "--cacert", &root])
            .args(["--resolve", &resolve(host, HTTPS)])
            .arg(format!("https://{host}:{HTTPS}/"))
            .output()
            .unwrap()
    };
    let page = get("app.t.example.com");
    let said = String::from_utf8_lossy(&page.stderr).into_owned();
    assert!(
        String::from_utf8_lossy(&page.stdout).contains("hello"),
        "{said}"
    );
    // No agent has this name: no certificate is requested.
    assert!(!get("other.t.example.com").status.success());
    assert_eq!(
        program.stderr().matches("obtained a certificate").count(),
        1
    );
}
