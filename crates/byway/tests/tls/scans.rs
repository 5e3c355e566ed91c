//! Scans: what a scanner of TLS servers finds.

use byway_testkit::Origin;

use super::site::{Site, has};

#[test]
fn sslscan_finds_no_old_version_no_weak_cipher_and_no_renegotiation() {
    if !has("sslscan") {
        return eprintln!("skipped: there is no sslscan");
    }
    let (site, origin) = (Site::new(), Origin::useful());
    let program = site.edge(&origin, "");
    let output = std::process::Command::new("sslscan")
        .args([
            "--no-colour",
            "--sni-name=a.example",
            &program.address().to_string(),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let has_line = |start: &str, end: &str| {
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        text.lines().any(|line| words(line) == [start, end])
    };
    for version in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        assert!(has_line(version, "disabled"), "{version}: {text}");
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        assert!(has_line(version, "enabled"), "{version}: {text}");
    }
    assert!(
        text.contains("Session renegotiation not supported"),
        "{text}"
    );
    assert!(
        !text.replace("not vulnerable", "").contains("vulnerable"),
        "{text}"
    );
    let ciphers: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("Accepted") || line.starts_with("Preferred"))
        .collect();
    assert!(ciphers.len() >= 5, "{text}");
    for cipher in ciphers {
        let is_aead = cipher.contains("GCM") || cipher.contains("CHACHA20");
        assert!(is_aead && cipher.contains("Curve"), "{cipher}");
    }
}
