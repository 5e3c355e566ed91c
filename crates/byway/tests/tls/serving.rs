//! Serving: requests over TLS.

use std::io::Write;
use std::net::TcpStream;

use byway_testkit::{Ending, Origin, Program};

use super::BYWAY;
use super::site::{Site, ask, has, metric, rest, until};

#[test]
fn a_request_over_tls_is_served_and_its_origin_learns_of_it() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "hsts = \"365d\"");
    let answer = site
        .client()
        .get(program.address(), "a.example", "/")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("Strict-Transport-Security: max-age=31536000\r\n"),
        "{answer}"
    );
    let request = &origin.requests()[0];
    assert_eq!(request.field("X-Forwarded-Proto"), Some("https"));
    assert_eq!(request.field("Host"), Some("a.example"));
}

#[test]
fn errors_of_byway_itself_say_that_https_is_to_be_used_and_over_plain_http_nothing_does() {
    let (site, origin) = (Site::new(), Origin::useful());
    let more = "hsts = \"365d\"\nlisten = \"127.0.0.1:0\"\nredirect_to_https = false";
    let program = site.edge(&origin, more);
    let https = *program.addresses().last().unwrap();
    let plain = program.address();
    let client = site.client();
    let stated = "Strict-Transport-Security: max-age=31536000\r\n";
    // A refused path, a head that is no HTTP, and an OPTIONS that ends here.
    for (request, status) in [
        (
            "GET /a%2f..%2f%00 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", "400"),
        (
            "OPTIONS / HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n",
            "200",
        ),
    ] {
        let mut stream = client.connect(https, "a.example").unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let answer = rest(&mut stream).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(answer.matches(stated).count(), 1, "{request}: {answer}");

        let mut socket = TcpStream::connect(plain).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let answer = rest(&mut socket).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(!answer.contains("Strict-Transport-Security"), "{answer}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_kept_connection_serves_many_requests_and_absolute_targets_of_https() {
    let (site, origin) = (
        Site::new(),
        Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    );
    let program = site.edge(&origin, "");
    let mut stream = site
        .client()
        .connect(program.address(), "a.example")
        .unwrap();
    for target in ["/1", "/2", "https://a.example/3"] {
        ask(&mut stream, "a.example", target, "").unwrap();
        let answer = until(&mut stream, "\r\n\r\nok");
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        assert!(!answer.contains("Strict-Transport-Security"), "{answer}");
    }
    ask(
        &mut stream,
        "a.example",
        "http://a.example/4",
        "Connection: close\r\n",
    )
    .unwrap();
    let answer = rest(&mut stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[test]
fn large_bodies_pass_both_ways() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let file = site.path("body");
    std::fs::write(&file, vec![b'x'; 8 << 20]).unwrap();
    let url = format!("https://127.0.0.1:{}/sum", program.address().port());
    let upload = format!("@{}", file.display());
    let (body, code) = site.curl(&[
        "--data-binary",
        &upload,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_upload}",
        &url,
    ]);
    assert_eq!((body.as_str(), code), ("200 8388608", 0));
}

#[test]
fn a_plain_request_is_redirected_to_the_port_of_https() {
    let (site, origin) = (Site::new(), Origin::useful());
    let more = "listen = \"127.0.0.1:0\"\nredirect_to_https = true";
    let program = site.edge(&origin, more);
    let [plain, encrypted] = program.addresses()[..] else {
        panic!("{:?}", program.addresses());
    };
    let mut socket = TcpStream::connect(plain).unwrap();
    ask(
        &mut socket,
        "a.example:8080",
        "/p%20q?r=s",
        "Connection: close\r\n",
    )
    .unwrap();
    let answer = rest(&mut socket).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"),
        "{answer}"
    );
    let location = format!(
        "\r\nLocation: https://a.example:{}/p%20q?r=s\r\n",
        encrypted.port()
    );
    assert!(answer.contains(&location), "{answer}");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_request_for_another_host_than_that_of_the_session_is_misdirected() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let client = site.client();
    for (host, status) in [("b.example", 200), ("A.EXAMPLE.", 200), ("c.example", 421)] {
        let answer = client
            .get_as(program.address(), "a.example", host, "/")
            .unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host}: {answer}"
        );
    }
}

#[test]
fn a_response_that_is_cut_ends_without_close_notify() {
    let site = Site::new();
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        visitor.reset_now();
    });
    let program = site.edge(&origin, "");
    let answer = site.client().get(program.address(), "a.example", "/");
    assert!(answer.is_err(), "{answer:?}");
}

#[test]
fn a_websocket_is_relayed_and_its_end_is_a_close_notify() {
    let site = Site::new();
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n";
        visitor.send(switch).expect("hello").send("hello");
        // The client's end arrives as the end of its half.
        assert_eq!(visitor.ended(), Ending::Fin);
        visitor.send("bye");
    });
    let program = site.edge(&origin, "");
    let mut stream = site
        .client()
        .connect(program.address(), "a.example")
        .unwrap();
    ask(
        &mut stream,
        "a.example",
        "/",
        "Upgrade: echo\r\nConnection: Upgrade\r\n",
    )
    .unwrap();
    let head = until(&mut stream, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.write_all(b"hello").unwrap();
    assert_eq!(until(&mut stream, "hello"), "hello");
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(rest(&mut stream).unwrap(), "bye");
}

#[test]
fn the_access_log_and_the_metrics_say_how_a_session_was_encrypted() {
    let (site, origin) = (Site::new(), Origin::useful());
    let log = site.path("access.log");
    site.issue("a", &["a.example"]);
    let config = format!(
        "workers = 1\nlog.access = \"{}\"\nlog.access_format = \"json\"\nmetrics.listen = \"127.0.0.1:0\"\n{}",
        log.display(),
        site.config(&origin, &["a.pem"], "")
    );
    let program = Program::configured(BYWAY, &config);
    let client = site.client();
    for _ in 0..2 {
        client.get(program.address(), "a.example", "/").unwrap();
    }
    byway_testkit::eventually("both lines are written", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 2)
    });
    let text = std::fs::read_to_string(&log).unwrap();
    let begin = r#""tls_version":"TLSv1.3","tls_cipher":"TLS13_AES_256_GCM_SHA384","tls_name":"a.example","tls_resumed":"#;
    for (line, resumed) in text.lines().zip(["false", "true"]) {
        assert!(
            line.contains(&format!("{begin}{resumed},\"tls_client\":null")),
            "{line}"
        );
    }
    for resumed in ["false", "true"] {
        let name =
            format!("byway_tls_handshakes_total{{version=\"TLSv1.3\",resumed=\"{resumed}\"}}");
        assert_eq!(metric(&program, &name), 1, "{name}");
    }
}

#[test]
fn http_2_is_agreed_in_the_handshake_and_knows_of_it() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let port = program.address().port();
    let resolve = format!("a.example:{port}:127.0.0.1");
    let url = format!("https://a.example:{port}");
    let one = format!("{url}/bytes/300000");
    let format = "%{http_version} %{size_download}\n";
    let mut args = vec!["--resolve", &resolve, "--http2", "-w", format];
    for _ in 0..4 {
        args.extend(["-o", "/dev/null", &one]);
    }
    assert_eq!(site.curl(&args), ("2 300000\n".repeat(4), 0));
    assert_eq!(
        origin.requests()[0].field("X-Forwarded-Proto"),
        Some("https")
    );
    // A stream for a host that the session is not for.
    let args = [
        "--resolve",
        &resolve,
        "--http2",
        "-H",
        "Host: c.example",
        "-o",
        "/dev/null",
    ];
    let (status, _) = site.curl(&[&args[..], &["-w", "%{http_code}", &one]].concat());
    assert_eq!(status, "421");
}

#[test]
fn curl_and_openssl_are_served() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let port = program.address().port();
    let (body, code) = site.curl(&[
        "-w",
        "%{http_version} %{ssl_verify_result}",
        "-o",
        "/dev/null",
        &format!("https://127.0.0.1:{port}/"),
    ]);
    assert_eq!((body.as_str(), code), ("2 0", 0));
    let resolve = format!("a.example:{port}:127.0.0.1");
    for version in ["1.2", "1.3"] {
        let args = [
            "--resolve",
            &resolve,
            "--tls-max",
            version,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("https://a.example:{port}/"),
        ];
        assert_eq!(site.curl(&args), ("200".to_owned(), 0), "{version}");
    }
    if !has("openssl") {
        return eprintln!("skipped: there is no openssl");
    }
    let root = site.path("root.pem").display().to_string();
    let output = std::process::Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &program.address().to_string(),
            "-servername",
            "a.example",
        ])
        .args([
            "-CAfile",
            &root,
            "-verify_return_error",
            "-brief",
            "-alpn",
            "http/1.1",
        ])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("Protocol version: TLSv1.3"), "{text}");
    assert!(text.contains("Verification: OK"), "{text}");
}
