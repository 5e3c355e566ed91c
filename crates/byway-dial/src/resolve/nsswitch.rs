//! Nsswitch: the look-up modules that `getaddrinfo` uses on this machine and `Resolver::dns` does
//! not have.
//!
//! In:    the text of `/etc/nsswitch.conf`.
//! Out:   names of modules.
//! Never: loads one.

/// Modules that `Resolver::dns` replaces or does not need: `resolve` is the local server of
/// systemd, which is in `resolv.conf`; `myhostname` and `mymachines` are about this machine only.
const SERVED: [&str; 5] = ["files", "dns", "resolve", "myhostname", "mymachines"];

/// The modules of the line `hosts:` that only the system's resolver has, such as `mdns4_minimal`,
/// `ldap` or `sss`.
pub fn system_only_modules(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let hosts = lines
        .filter_map(|line| line.strip_prefix("hosts:"))
        .next_back()
        .unwrap_or_default();
    let mut modules: Vec<String> = Vec::new();
    let mut in_action = false;
    for word in hosts.split_ascii_whitespace() {
        in_action |= word.starts_with('[');
        if !in_action && !SERVED.contains(&word) && !modules.iter().any(|known| known == word) {
            modules.push(word.to_owned());
        }
        in_action &= !word.ends_with(']');
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_only_the_system_has_are_listed_without_actions() {
        for (text, modules) in [
            ("passwd: ldap\nhosts: files dns\n", &[][..]),
            (
                "hosts:files mdns4_minimal [NOTFOUND=return] dns mdns4 # wins",
                &["mdns4_minimal", "mdns4"],
            ),
            (
                "hosts: mymachines resolve [!UNAVAIL=return success=merge] files myhostname dns",
                &[],
            ),
            (
                "hosts: files sss\nhosts: files [ SUCCESS=return NOTFOUND=continue ] ldap dns ldap",
                &["ldap"],
            ),
            ("", &[]),
        ] {
            assert_eq!(system_only_modules(text), modules, "{text}");
        }
    }
}
