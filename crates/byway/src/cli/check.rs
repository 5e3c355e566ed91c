//! Check: `byway check -c byway.toml`: prints every error, or the effective config with warnings of
//! probable mistakes.

use std::process::ExitCode;

use super::run::RunArgs;
use super::{Common, refuse, terminal};
use crate::config::{self, Effective, Plan, ResolverKind};
use crate::tls;

/// Validates the file. The effective Plan goes to stdout, as TOML, secrets masked.
pub(super) fn run(args: &RunArgs, common: &Common) -> ExitCode {
    let path = args.path();
    match args.load(common) {
        Ok(plan) => {
            let of_certificates = match tls::check(&plan) {
                Ok(warnings) => warnings,
                Err(error) => {
                    terminal::note(format_args!("{error}"));
                    return ExitCode::from(2);
                }
            };
            terminal::note(format_args!("{} is valid", path.display()));
            for request in tls::authorities::requests(&plan) {
                terminal::note(format_args!("{request}"));
            }
            for warning in config::warnings(&plan)
                .into_iter()
                .chain(config::slash_warnings(&plan))
                .chain(of_certificates)
            {
                terminal::note(format_args!("warning: {warning}"));
            }
            if let Some(warning) = resolver_warning(&plan, &nsswitch()) {
                terminal::note(format_args!("warning: {warning}"));
            }
            for lowered in &plan.descriptors.lowered {
                let weight = if lowered.written { "warning" } else { "note" };
                terminal::note(format_args!("{weight}: {lowered}"));
            }
            terminal::data(Effective(&plan))
        }
        Err(errors) => refuse(&errors),
    }
}

/// The file that configures name look-ups on this machine; empty if there is none.
fn nsswitch() -> String {
    std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default()
}

/// A warning if this machine resolves names that Byway would not find.
fn resolver_warning(plan: &Plan, nsswitch: &str) -> Option<String> {
    let modules = byway_dial::system_only_modules(nsswitch);
    let matters = plan.dial.resolver == ResolverKind::Dns && !modules.is_empty();
    matters.then(|| {
        format!(
            "/etc/nsswitch.conf looks names up by {}, which `dial.resolver = \"dns\"` does not; write \
             `resolver = \"system\"` in [dial] if targets have such names",
            modules.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_machine_that_resolves_by_more_than_dns_is_warned_of_unless_the_resolver_is_the_system() {
        let warning = |dial: &str, nsswitch: &str| {
            let text =
                format!("{dial}\n[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"printer.local:9100\"\n");
            let plan = config::parse(&text, "test.toml", Path::new("/tmp")).unwrap();
            resolver_warning(&plan, nsswitch)
        };
        let mdns = "hosts: files mdns4_minimal [NOTFOUND=return] dns\n";
        let text = warning("", mdns).unwrap();
        assert!(
            text.contains("mdns4_minimal") && text.contains("resolver = \"system\""),
            "{text}"
        );
        assert_eq!(warning("dial.resolver = \"system\"", mdns), None);
        assert_eq!(warning("", "hosts: files dns\n"), None);
    }
}
