//! Environment: the proxies in the variables `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
//! `NO_PROXY`.
//!
//! In:    variables as pairs of text, or those of this process.
//! Out:   the route to a target.
//! Never: reads the process's variables without a call to do so, or lets a web server's visitor
//!        choose the proxy.

use std::collections::HashMap;
use std::sync::Arc;

use crate::no_proxy::{BadEntry, NoProxy};
use crate::parent::{BadParent, Parent};
use crate::route::{Purpose, Route};
use crate::target::Target;

/// The variables: the lower-case name is first and wins if both are set.
const HTTP: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const HTTPS: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const ALL: [&str; 2] = ["all_proxy", "ALL_PROXY"];
const NO: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// Set by a web server that runs this process for a visitor (RFC 3875 section 4.1.12).
const CGI: &str = "REQUEST_METHOD";

/// The proxies of an environment, by the rules that curl, Go and Python share:
///
/// - `http_proxy` is for `http://`, `https_proxy` for `https://`, and `all_proxy` for those without
///   their own. The lower-case spelling wins over the upper-case one.
/// - A variable that is set and empty means "no proxy", even if `all_proxy` has one.
/// - With `REQUEST_METHOD` set, `HTTP_PROXY` is ignored: in a CGI program it holds the visitor's
///   field `Proxy` ("httpoxy", CVE-2016-5385 and others). `http_proxy` still counts.
/// - A value is a URL as for [`Parent`]; the default scheme is `http://`.
/// - `no_proxy` lists the targets to reach directly: see [`NoProxy`]. Loopback is not included by
///   default.
///
/// ```
/// use byway_dial::{Environment, Purpose, Route};
///
/// let environment = Environment::of([("https_proxy", "proxy.example:3128"), ("NO_PROXY", ".internal,10.0.0.0/8")]);
/// let environment = environment.unwrap();
/// let route = |target: &str| environment.route(Purpose::Https, &target.parse().unwrap());
/// assert!(matches!(route("example.com:443"), Route::Tunnel(_)));
/// assert_eq!(route("git.internal:443"), Route::Direct);
/// assert_eq!(route("10.1.2.3:443"), Route::Direct);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    http: Option<Arc<Parent>>,
    https: Option<Arc<Parent>>,
    all: Option<Arc<Parent>>,
    no_proxy: NoProxy,
}

impl Environment {
    /// From `variables`; unrelated ones are ignored.
    ///
    /// # Errors
    /// [`BadVariable`], with the variable and the remedy.
    pub fn of<K, V>(variables: impl IntoIterator<Item = (K, V)>) -> Result<Self, BadVariable>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let known = |name: &str| {
            [HTTP, HTTPS, ALL, NO]
                .into_iter()
                .flatten()
                .chain([CGI])
                .find(|known| *known == name)
        };
        let mut found = HashMap::new();
        for (name, value) in variables {
            if let Some(name) = known(name.as_ref()) {
                found.insert(name, value.as_ref().trim().to_owned());
            }
        }
        if found.contains_key(CGI) {
            found.remove("HTTP_PROXY");
        }
        let all = proxy(&found, ALL)?.flatten();
        let or_all = |own: Option<Option<Arc<Parent>>>| own.unwrap_or_else(|| all.clone());
        let (http, https) = (or_all(proxy(&found, HTTP)?), or_all(proxy(&found, HTTPS)?));
        let no_proxy = match first(&found, NO) {
            Some((variable, value)) => value
                .parse()
                .map_err(|error: BadEntry| bad(variable, error))?,
            None => NoProxy::default(),
        };
        Ok(Self {
            http,
            https,
            all,
            no_proxy,
        })
    }

    /// From the current variables of this process.
    ///
    /// # Errors
    /// [`BadVariable`], also for one of these variables that is not UTF-8.
    pub fn of_process() -> Result<Self, BadVariable> {
        let mut variables = Vec::new();
        for name in [HTTP, HTTPS, ALL, NO].into_iter().flatten().chain([CGI]) {
            match std::env::var(name) {
                Ok(value) => variables.push((name, value)),
                Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => return Err(bad(name, BadValue::NotText)),
            }
        }
        Self::of(variables)
    }

    /// The route to `target` for `purpose`. A Unix socket is always reached directly.
    pub fn route(&self, purpose: Purpose, target: &Target) -> Route {
        let parent = match purpose {
            Purpose::Http => &self.http,
            Purpose::Https => &self.https,
            Purpose::Other => &self.all,
        };
        match parent {
            Some(parent) if !self.no_proxy.covers(target) => {
                Route::through(parent, purpose, target)
            }
            _ => Route::Direct,
        }
    }
}

type Found = HashMap<&'static str, String>;

fn first<'a>(found: &'a Found, names: [&'static str; 2]) -> Option<(&'static str, &'a str)> {
    names
        .into_iter()
        .find_map(|name| found.get(name).map(|value| (name, value.as_str())))
}

/// The proxy in a variable; `Some(None)` if it is set and empty.
fn proxy(
    found: &Found,
    names: [&'static str; 2],
) -> Result<Option<Option<Arc<Parent>>>, BadVariable> {
    let Some((variable, value)) = first(found, names) else {
        return Ok(None);
    };
    if value.is_empty() {
        return Ok(Some(None));
    }
    let url = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let parent: Parent = url
        .parse()
        .map_err(|error: BadParent| bad(variable, error))?;
    Ok(Some(Some(Arc::new(parent))))
}

fn bad(variable: &'static str, source: impl Into<BadValue>) -> BadVariable {
    BadVariable {
        variable,
        source: source.into(),
    }
}

/// An invalid variable of the environment, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the variable {variable}: {source}")]
pub struct BadVariable {
    /// Its name, in the spelling that was used.
    pub variable: &'static str,
    /// The problem.
    pub source: BadValue,
}

/// The problem of a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// It is not a proxy.
    #[error(transparent)]
    Proxy(#[from] BadParent),
    /// It contains an invalid host.
    #[error(transparent)]
    Entry(#[from] BadEntry),
    /// It is not UTF-8.
    #[error("it is not UTF-8 text; set it again, or unset it")]
    NotText,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().copied()).unwrap()
    }

    /// The route to `host`, as text: `direct`, `absolute PARENT` or `tunnel PARENT`.
    fn way(environment: &Environment, purpose: Purpose, target: &str) -> String {
        match environment.route(purpose, &target.parse().unwrap()) {
            Route::Direct => "direct".into(),
            Route::Tunnel(parent) => format!("tunnel {parent}"),
            Route::Absolute(parent) => format!("absolute {parent}"),
        }
    }

    fn ways(variables: &[(&str, &str)]) -> [String; 3] {
        let environment = environment(variables);
        [Purpose::Http, Purpose::Https, Purpose::Other]
            .map(|purpose| way(&environment, purpose, "a.example:80"))
    }

    #[test]
    fn without_variables_every_route_is_direct() {
        assert_eq!(ways(&[]), ["direct", "direct", "direct"]);
        assert_eq!(
            ways(&[("PATH", "/bin"), ("FTP_PROXY", "h:1")]),
            ["direct", "direct", "direct"]
        );
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_is_for_the_rest() {
        assert_eq!(
            ways(&[("http_proxy", "http://p:1")]),
            ["absolute http://p:1", "direct", "direct"]
        );
        assert_eq!(
            ways(&[("HTTPS_PROXY", "http://p:1")]),
            ["direct", "tunnel http://p:1", "direct"]
        );
        assert_eq!(
            ways(&[("ALL_PROXY", "socks5://p"), ("https_proxy", "https://q")]),
            [
                "tunnel socks5://p:1080",
                "tunnel https://q:443",
                "tunnel socks5://p:1080"
            ]
        );
        assert_eq!(
            ways(&[("all_proxy", "http://p")]),
            [
                "absolute http://p:80",
                "tunnel http://p:80",
                "tunnel http://p:80"
            ]
        );
    }

    #[test]
    fn lower_case_wins_and_a_value_without_a_scheme_means_http() {
        assert_eq!(
            ways(&[("HTTP_PROXY", "up:1"), ("http_proxy", " low:2 ")])[0],
            "absolute http://low:2"
        );
        assert_eq!(ways(&[("HTTP_PROXY", "up:1")])[0], "absolute http://up:1");
        assert_eq!(
            ways(&[("http_proxy", "me:key@up")])[0],
            "absolute http://me:***@up:80"
        );
    }

    #[test]
    fn an_empty_variable_means_no_proxy_even_with_all_proxy() {
        let set = [
            ("all_proxy", "http://p:1"),
            ("https_proxy", ""),
            ("HTTPS_PROXY", "http://q:1"),
        ];
        assert_eq!(
            ways(&set),
            ["absolute http://p:1", "direct", "tunnel http://p:1"]
        );
        assert_eq!(
            ways(&[("all_proxy", " "), ("ALL_PROXY", "http://p:1")]),
            ["direct", "direct", "direct"]
        );
    }

    #[test]
    fn a_cgi_program_does_not_let_its_visitor_choose_the_proxy() {
        let visitor = [
            ("HTTP_PROXY", "http://evil.example:1"),
            ("REQUEST_METHOD", "GET"),
        ];
        assert_eq!(ways(&visitor), ["direct", "direct", "direct"]);
        let both = [visitor[0], visitor[1], ("http_proxy", "http://p:1")];
        assert_eq!(ways(&both)[0], "absolute http://p:1");
        let others = [
            visitor[0],
            ("REQUEST_METHOD", ""),
            ("HTTPS_PROXY", "http://p:1"),
            ("ALL_PROXY", "socks5h://q"),
        ];
        assert_eq!(
            ways(&others),
            [
                "tunnel socks5h://q:1080",
                "tunnel http://p:1",
                "tunnel socks5h://q:1080"
            ]
        );
    }

    #[test]
    fn targets_in_no_proxy_are_reached_directly_and_loopback_is_not_included_by_default() {
        let set = environment(&[
            ("http_proxy", "p:1"),
            ("NO_PROXY", "ignored.example"),
            ("no_proxy", "a.example"),
        ]);
        assert_eq!(way(&set, Purpose::Http, "a.example:80"), "direct");
        assert_eq!(
            way(&set, Purpose::Http, "ignored.example:80"),
            "absolute http://p:1"
        );
        for loopback in ["localhost:80", "127.0.0.1:80", "[::1]:80"] {
            assert_eq!(
                way(&set, Purpose::Http, loopback),
                "absolute http://p:1",
                "{loopback}"
            );
        }
        let none = environment(&[("http_proxy", "p:1"), ("no_proxy", ""), ("NO_PROXY", "*")]);
        assert_eq!(
            way(&none, Purpose::Http, "a.example:80"),
            "absolute http://p:1"
        );
    }

    /// Runs itself once for each row, in a process with those variables.
    #[test]
    fn the_variables_of_this_process_are_read_on_request() {
        use std::os::unix::ffi::OsStrExt;
        const CHILD: &str = "BYWAY_DIAL_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let result = match Environment::of_process() {
                Ok(environment) => way(&environment, Purpose::Https, "a.example:443"),
                Err(error) => error.to_string(),
            };
            return println!("result: {result}");
        }
        let text = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
        let table: [(&[u8], &str); 3] = [
            (b"socks5h://p", "tunnel socks5h://p:1080"),
            (
                b"ftp://p",
                "the variable HTTPS_PROXY: `ftp://` is no scheme of a proxy",
            ),
            (
                b"http://\xff",
                "the variable HTTPS_PROXY: it is not UTF-8 text",
            ),
        ];
        for (value, expected) in table {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let this = "environment::tests::the_variables_of_this_process_are_read_on_request";
            child
                .args(["--exact", this, "--nocapture"])
                .env_clear()
                .env(CHILD, "1");
            let output = child
                .env("HTTPS_PROXY", text(value))
                .env("NO_PROXY", "b.example")
                .output()
                .unwrap();
            let output = String::from_utf8(output.stdout).unwrap();
            assert!(output.contains(&format!("result: {expected}")), "{output}");
        }
    }

    #[test]
    fn a_unix_socket_never_goes_through_a_proxy() {
        assert_eq!(
            way(
                &environment(&[("all_proxy", "p:1")]),
                Purpose::Http,
                "unix:/run/app.sock"
            ),
            "direct"
        );
    }

    #[test]
    fn a_bad_variable_is_reported_with_a_remedy_and_without_its_password() {
        let error = |set: &[(&str, &str)]| {
            Environment::of(set.iter().copied())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&[("HTTPS_PROXY", "ftp://u:secret@h:1")]),
            "the variable HTTPS_PROXY: `ftp://` is no scheme of a proxy: \
             write http, https, socks4, socks4a, socks5 or socks5h before ://"
        );
        let message = error(&[("http_proxy", "http://u:secret@h:1/x")]);
        assert_eq!(
            message,
            "the variable http_proxy: a proxy is a host and a port, with nothing after them"
        );
        let message = error(&[("no_proxy", "10.0.0.0/33")]);
        assert!(
            message.starts_with("the variable no_proxy: `10.0.0.0/33` is no "),
            "{message}"
        );
    }
}
