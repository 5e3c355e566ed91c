use byway_testkit::{Origin, Program};

use super::{BYWAY, alone, byway, curl};

#[test]
fn localhost_is_served_over_https_with_a_certificate_that_clients_can_trust() {
    alone!();
    let origin = Origin::named("hello");
    let to = origin.address().to_string();
    let ports = ["--http-port", "5080", "--https-port", "5443"];
    let args = [
        &[
            "edge",
            "--listen",
            "localhost",
            "--listen",
            "app.localhost",
            "--to",
            &to,
        ],
        &ports[..],
    ];
    let program = Program::start(BYWAY, &args.concat());
    let state = program.folder().join("state").display().to_string();
    let root = program.folder().join("root.pem").display().to_string();
    std::fs::write(&root, byway(&["ca", "show", "--pem", "--state", &state])).unwrap();
    for host in ["localhost", "app.localhost"] {
        let (url, at) = (
            format!("https://{host}:5443/"),
            format!("{host}:5443:127.0.0.1"),
        );
        let page = curl(&["--cacert", &root, "--resolve", &at, &url]);
        assert!(page.contains("hello"), "{page}");
    }
    let redirect = curl(&[
        "-o",
        "/dev/null",
        "-w",
        "%{redirect_url}",
        "http://localhost:5080/",
    ]);
    assert_eq!(redirect, "https://localhost:5443/");
    let shown = byway(&["ca", "show", "--state", &state]);
    assert!(shown.contains("localhost and names below"), "{shown}");
    let how = byway(&["ca", "install", "--state", &state]);
    for word in [
        "update-ca-certificates",
        "update-ca-trust",
        "security add-trusted-cert",
        "certutil",
        "--cacert",
    ] {
        assert!(how.contains(word), "{word}");
    }
}

#[test]
fn an_address_with_tls_speaks_https_and_a_name_outside_the_authority_says_what_to_do() {
    alone!();
    let origin = Origin::named("hello");
    let to = origin.address().to_string();
    let program = Program::start(
        BYWAY,
        &["edge", "--listen", "localhost:5443", "--tls", "--to", &to],
    );
    let state = program.folder().join("state").display().to_string();
    let root = program.folder().join("root.pem").display().to_string();
    std::fs::write(&root, byway(&["ca", "show", "--pem", "--state", &state])).unwrap();
    for url in ["https://localhost:5443/", "https://127.0.0.1:5443/"] {
        assert!(curl(&["--cacert", &root, url]).contains("hello"), "{url}");
    }
    let config = program.folder().join("other.toml");
    let text = format!(
        "[tls]\nlocal_names = [\"dev.test\"]\n[[edge]]\nhttps = \"127.0.0.1:5444\"\n[[edge.route]]\nto = \"{to}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let run = || {
        let mut command = std::process::Command::new(BYWAY);
        let config = config.display().to_string();
        command.args(["run", "-c", &config, "--state", &state]);
        command
    };
    let refused = run().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("byway ca new --name dev.test"),
        "{said}"
    );
    let made = byway(&["ca", "new", "--name", "dev.test", "--state", &state]);
    assert!(
        made.contains("localhost, dev.test and names below"),
        "{made}"
    );
}
