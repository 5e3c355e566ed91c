//! `[[acme]]` and `tls.local_names`.

use super::super::*;
use super::*;

const SITE: &str = "[[edge]]\nhttps = \":443\"\n[[edge.route]]\n\
    hosts = [\"a.example.com\", \"B.example.com\", \"*.example.org\", \"192.0.2.1\", \"x.localhost\"]\n\
    to = \"192.0.2.2:80\"\n";

fn names(plan: &AcmePlan) -> Vec<&str> {
    plan.names.iter().map(|name| name.as_str()).collect()
}

#[test]
fn the_first_section_gets_the_exact_hosts_of_routes_that_nothing_else_has() {
    let plan = plan(&format!(
        "[[certificate]]\ncert = \"c.pem\"\nnames = [\"b.example.com\"]\n\
         [[acme]]\nagree = true\nnames = [\"extra.example.net\"]\n\
         [[acme]]\nagree = true\ndirectory = \"https://ca.example/dir\"\nnames = [\"extra.example.net\"]\n{SITE}"
    ));
    let [first, second] = &plan.tls.acme[..] else {
        panic!("two sections");
    };
    assert_eq!(names(first), ["extra.example.net", "a.example.com"]);
    assert_eq!(names(second), Vec::<&str>::new(), "the first one has it");
    assert_eq!(first.directory, DEFAULT_DIRECTORY);
}

#[test]
fn a_wildcard_covers_the_hosts_of_routes() {
    let plan = plan(&format!(
        "[[acme]]\nagree = true\nnames = [\"*.example.com\"]\ndns_command = [\"/bin/set\", \"x\"]\n{SITE}"
    ));
    assert_eq!(names(&plan.tls.acme[0]), ["*.example.com"]);
    let text = Effective(&plan).to_string();
    for line in [
        "names = [\"*.example.com\"]",
        "dns_command = [\"/bin/set\", \"x\"]",
        "challenge = \"auto\"",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn plain_routes_and_names_that_no_authority_certifies_request_nothing() {
    let plan = plan(
        "[[acme]]\nagree = true\n[[edge]]\nlisten = \":80\"\n[[edge.route]]\n\
         hosts = [\"a.example.com\"]\nto = \"192.0.2.2:80\"\n",
    );
    assert_eq!(names(&plan.tls.acme[0]), Vec::<&str>::new());
}

#[test]
fn mistakes_say_what_is_missing() {
    let site = "[[edge]]\nhttps = \":443\"\n[[edge.route]]\nto = \"192.0.2.2:80\"\n";
    for (lines, error) in [
        (
            "",
            "1:1 `agree` is missing: the authority issues certificates to those who agree to its terms",
        ),
        (
            "agree = true\ndirectory = \"http://ca.example\"",
            "3:13 `directory` has to begin with https://",
        ),
        ("agree = true\nemail = \"me\"", "3:9 `me` is no address"),
        (
            "agree = true\nnames = [\"*.example.com\"]",
            "3:9 `*.example.com` needs dns-01, and there is no way to set DNS records",
        ),
        (
            "agree = true\nnames = [\"192.0.2.1\"]",
            "3:10 `names`: certificates are for host names here, not for IP addresses",
        ),
        (
            "agree = true\ndns_server = \"10.0.0.1:53\"",
            "3:14 `dns_server` needs `dns_key_file`: updates are signed",
        ),
        (
            "agree = true\nbinding_id = \"x\"",
            "1:1 `binding_id` and `binding_key_file` need each other",
        ),
        (
            "agree = true\nchallenge = \"dns-01\"",
            "1:1 `challenge = \"dns-01\"` needs a way to set DNS records",
        ),
    ] {
        let text = format!("[[acme]]\n{lines}\n{site}");
        assert_eq!(errors(&text), [error], "{text}");
    }
}

#[test]
fn https_needs_a_certificate_from_somewhere() {
    let site = "[[edge]]\nhttps = \":443\"\n[[edge.route]]\nto = \"192.0.2.2:80\"\n";
    assert_eq!(errors(site).len(), 1);
    plan(&format!("[[acme]]\nagree = true\n{site}"));
    let local = plan(&format!("[tls]\nlocal_names = [\"LOCALHOST\"]\n{site}"));
    assert_eq!(local.tls.local_names, ["localhost"]);
}

#[test]
fn a_reload_reports_a_change_of_authorities() {
    let before = plan(&format!("[[acme]]\nagree = true\n{SITE}"));
    let after = plan(&format!(
        "[[acme]]\nagree = true\nemail = \"a@example.com\"\n{SITE}"
    ));
    assert_eq!(Diff::between(&before, &after).settings, ["acme"]);
}
