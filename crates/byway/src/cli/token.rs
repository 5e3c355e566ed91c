//! Token: `byway token list | add | revoke | forget`: the grants by which other nodes join this
//! one.
//!
//! In:    the state folder.
//! Out:   a table, a join string, or what is wrong.
//! Never: shows the secret of an existing grant: only its join string holds it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use byway_dial::Target;
use byway_link::{Conflict, GrantId, JoinString, Key};
use clap::{Args, Subcommand, ValueEnum};

use super::{Common, EXIT_CONFIG, examples, terminal};
use crate::calendar::civil;
use crate::link::grants::{Grant, GrantError, Grants, Purpose};
use crate::link::join_file::JoinFile;

/// What is done with grants.
#[derive(Args, Debug)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The grants of this state folder: id, purpose, rights, age
    #[command(after_help = examples::TOKEN_LIST)]
    List,
    /// Make another grant, with rights of its own, and print its join string
    #[command(after_help = examples::TOKEN_ADD)]
    Add(AddArgs),
    /// Revoke a grant: it admits no new session, and its sessions end within a second
    #[command(after_help = examples::TOKEN_REVOKE)]
    Revoke {
        /// Its id, as `list` shows it
        id: GrantId,
    },
    /// Remove a revoked grant from the list; its names are free
    #[command(after_help = examples::TOKEN_FORGET)]
    Forget {
        /// Its id, as `list` shows it
        id: GrantId,
        /// Revoke it first if it is valid
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args, Debug)]
struct AddArgs {
    /// What it is for: serve (exposing services) or exit (going out)
    #[arg(long, value_name = "PURPOSE", value_enum, default_value_t = ForWhat::Serve)]
    purpose: ForWhat,
    /// How others reach this node. Default: as in the join string of the state folder
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<Target>,
    /// Public ports that it may request
    #[arg(long, value_name = "FROM-TO", default_value = "1024-65535", value_parser = ports)]
    ports: RangeInclusive<u16>,
    /// What happens when it requests a name that another node of the same grant holds
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnConflict::Refuse)]
    on_conflict: OnConflict,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ForWhat {
    Serve,
    Exit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnConflict {
    /// It is refused; the refusal names the holder
    Refuse,
    /// Both have it, and visitors go to them in turn
    Share,
    /// It takes the name, and the other node is notified
    Take,
}

/// Runs the command. Exit code 2 if there is no such grant.
pub(super) fn run(args: &TokenArgs, common: &Common) -> ExitCode {
    let state = common.state();
    let grants = Grants::new(&state);
    let done = match &args.what {
        What::List => grants.list().map(|listed| {
            for (path, error) in &listed.unreadable {
                terminal::note(format_args!("warning: cannot read {}: {error}", path.display()));
            }
            if listed.grants.is_empty() && listed.unreadable.is_empty() {
                terminal::note(format_args!(
                    "there are no grants in {}: `byway serve`, `byway proxy serve` and `byway token add` make them; \
                     --state names another folder",
                    state.join("grants").display()
                ));
            }
            table(&listed.grants)
        }),
        What::Revoke { id } => grants.revoke(*id).map(|()| format!("revoked {id}\n")),
        What::Forget { id, force } => grants.forget(*id, *force).map(|()| format!("forgot {id}\n")),
        What::Add(args) => return add(args, &state, &grants),
    };
    finish(done)
}

fn finish(done: Result<String, GrantError>) -> ExitCode {
    match done {
        Ok(text) => terminal::data(text),
        Err(error @ (GrantError::Unknown(_) | GrantError::Revoked(_) | GrantError::Good(_))) => {
            terminal::error(error);
            ExitCode::from(EXIT_CONFIG)
        }
        Err(error) => {
            terminal::error(error);
            ExitCode::FAILURE
        }
    }
}

fn add(args: &AddArgs, state: &Path, grants: &Grants) -> ExitCode {
    let purpose = match args.purpose {
        ForWhat::Serve => Purpose::Serve,
        ForWhat::Exit => Purpose::Exit,
    };
    let file = JoinFile::new(state, purpose, None);
    let Some(address) = args.advertise.clone().or_else(|| own_address(&file)) else {
        terminal::error(format_args!(
            "there is no join string with the address of this node in {}; add --advertise HOST:PORT",
            file.path.display()
        ));
        return ExitCode::from(EXIT_CONFIG);
    };
    // After the checks: a mistake leaves nothing in the state folder.
    let key = match Key::load_or_create(&state.join("key")) {
        Ok(key) => key,
        Err(error) => {
            terminal::error(error);
            return ExitCode::FAILURE;
        }
    };
    let made = grants.create(purpose, conflict(args.on_conflict), args.ports.clone());
    finish(made.map(|(id, secret)| {
        let join = JoinString {
            pin: key.fingerprint(),
            id,
            secret,
            address,
        };
        format!("join {}\n", join.expose())
    }))
}

/// The address in the join string of the state folder.
fn own_address(file: &JoinFile) -> Option<Target> {
    Some(file.read().ok()??.address)
}

const fn conflict(on_conflict: OnConflict) -> Conflict {
    match on_conflict {
        OnConflict::Refuse => Conflict::Refuse,
        OnConflict::Share => Conflict::Share,
        OnConflict::Take => Conflict::Take,
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
        (Ok(from), Ok(to)) if from > 0 && from <= to => Ok(from..=to),
        _ => Err(format!(
            "`{text}` is not a range of ports: write 20000-20999"
        )),
    }
}

fn table(grants: &[Grant]) -> String {
    if grants.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{:<14}{:<9}{:<13}{:<10}{:<20}{}\n",
        "ID", "PURPOSE", "PORTS", "CONFLICT", "CREATED", "STATE"
    );
    for grant in grants {
        let ports = format!("{}-{}", grant.ports.start(), grant.ports.end());
        let conflict = match grant.conflict {
            Conflict::Refuse => "refuse",
            Conflict::Share => "share",
            Conflict::Take => "take",
        };
        let state = if grant.revoked { "revoked" } else { "good" };
        let created = date(grant.created_s);
        let purpose = grant.purpose.to_string();
        text += &format!(
            "{:<14}{purpose:<9}{ports:<13}{conflict:<10}{created:<20}{state}\n",
            grant.id.to_string()
        );
    }
    text
}

/// `2026-11-25 16:40` in UTC.
fn date(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_correct() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_399, "2000-02-28 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (1_795_629_600, "2026-11-25 18:00"),
        ] {
            assert_eq!(date(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn ranges_of_ports_are_read() {
        assert_eq!(ports("20000-20999"), Ok(20_000..=20_999));
        assert_eq!(ports("22"), Ok(22..=22));
        for text in ["", "0-1", "2-1", "1-70000", "x"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }
}
