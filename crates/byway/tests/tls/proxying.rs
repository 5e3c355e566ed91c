//! Proxying: the egress over TLS, and exposed services with `https:` URLs.

use byway_testkit::{Origin, Program};

use super::BYWAY;
use super::site::{Site, until};
use std::io::{Read, Write};

fn proxy(site: &Site) -> Program {
    site.issue("proxy", &["proxy.example", "127.0.0.1"]);
    let config = format!(
        "spill.mode = \"off\"\n[[certificate]]\ncert = \"{}\"\n[[proxy]]\nhttps = \"127.0.0.1:0\"\n[[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n",
        site.path("proxy.pem").display()
    );
    Program::configured(BYWAY, &config)
}

#[test]
fn curl_uses_an_https_proxy_for_plain_targets_and_for_tunnels() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = proxy(&site);
    let proxy = format!("https://127.0.0.1:{}", program.address().port());
    let root = site.path("root.pem").display().to_string();
    let url = format!("http://{}/", origin.address());
    for more in [&[][..], &["--proxytunnel"]] {
        let mut args = vec![
            "--proxy",
            &proxy,
            "--proxy-cacert",
            &root,
            "-o",
            "/dev/null",
        ];
        args.extend(["-w", "%{http_code}"]);
        args.extend(more);
        args.push(&url);
        assert_eq!(site.curl(&args), ("200".to_owned(), 0), "{more:?}");
    }
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn socks_over_tls_is_relayed_with_its_ends() {
    let site = Site::new();
    let origin = Origin::echo();
    let program = proxy(&site);
    let mut stream = site
        .client()
        .connect(program.address(), "proxy.example")
        .unwrap();
    let request = byway_testkit::asking::socks5(origin.address());
    stream
        .write_all(&[&[5, 1, 0], &request[..]].concat())
        .unwrap();
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..4], [5, 0, 5, 0], "{reply:?}");
    stream.write_all(b"over and over").unwrap();
    assert_eq!(until(&mut stream, "over and over"), "over and over");
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the end is a close_notify");
}

#[test]
fn an_exposed_service_has_an_https_url() {
    let (site, origin) = (Site::new(), Origin::useful());
    let cert = site.issue("t", &["*.t.localhost"]).display().to_string();
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--https",
        "127.0.0.1:0",
        "--domain",
        "t.localhost",
    ];
    let public = Program::start(BYWAY, &[&args[..], &["--cert", &cert]].concat());
    let join = public.wait_for_stdout("join by1.").split_off("join ".len());
    let to = origin.address().to_string();
    let agent = Program::start(BYWAY, &["http", &to, "--join", &join, "--name", "app"]);
    let url = agent
        .wait_for_stdout("https://app.t.localhost:")
        .trim()
        .to_owned();
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let visitors = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let answer = site.client().get(visitors, "app.t.localhost", "/").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        origin.requests()[0].field("X-Forwarded-Proto"),
        Some("https")
    );
}
