//! Parent: the `via` of a rule.
//!
//! In:    `socks5://user:password@host:port`, `http://host:port` and the like; see
//!        `byway_dial::Parent` for the forms.
//! Out:   a `ParentPlan` whose printed form hides the password.
//! Never: repeats the password in an error, or accepts a parent for which this node would have to
//!        resolve names.

use byway_dial::{Parent, Scheme};

use super::super::plan::ParentPlan;

/// Why a text is not a parent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadParent {
    #[error("SOCKS 4 carries no names, and the parent has to resolve names: write socks4a://")]
    CarriesNoNames,
    #[error(transparent)]
    Url(#[from] byway_dial::BadParent),
}

pub(super) fn parse_parent(text: &str) -> Result<ParentPlan, BadParent> {
    let parent: Parent = text.parse()?;
    let scheme = match parent.scheme {
        Scheme::Socks4 => return Err(BadParent::CarriesNoNames),
        // A rule matches the requested name; the parent gets that name under either spelling.
        Scheme::Socks5 => Scheme::Socks5h,
        scheme => scheme,
    };
    Ok(ParentPlan {
        parent: Parent { scheme, ..parent },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_print_without_their_password() {
        for (text, shown) in [
            (
                "socks5://u:secret@192.0.2.1:1080",
                "socks5://u:***@192.0.2.1:1080",
            ),
            (
                "socks5h://Exit.example.com/",
                "socks5://exit.example.com:1080",
            ),
            ("socks4a://me@h:1", "socks4a://me:***@h:1"),
            ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
            ("https://a%40b:p@ss%3Aword@h", "https://a%40b:***@h:443"),
        ] {
            let parent = parse_parent(text).unwrap();
            assert_eq!(parent.to_string(), shown);
            assert!(!format!("{parent:?}").contains("secret"));
            assert!(!parent.parent.scheme.resolves_here());
        }
    }

    #[test]
    fn bad_parents_report_what_is_wrong_and_never_show_a_password() {
        let (dial, url) = (
            |text: &str| text.parse::<Parent>().unwrap_err(),
            BadParent::Url,
        );
        for (text, error) in [
            ("socks4://me@h:1", BadParent::CarriesNoNames),
            ("192.0.2.1:1080", url(dial("192.0.2.1:1080"))),
            (
                "ftp://u:secret@h:1",
                url(byway_dial::BadParent::Scheme("ftp".into())),
            ),
            (
                "socks5://u:secret@unix:/x",
                url(byway_dial::BadParent::Path),
            ),
        ] {
            let found = parse_parent(text).unwrap_err();
            assert!(!found.to_string().contains("secret"));
            assert_eq!(found, error);
        }
    }
}
