//! Roles: the subjects of a question, and the role of each.
//!
//! In:    running programs, or why one does not run.
//! Out:   subjects to measure in turn; a note for each that is left out.
//! Never: leaves a peer out without a note.

use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::process::Pid;

use crate::access_log::AccessLog;
use crate::byway::Byway;
use crate::chart::Tone;
use crate::environment::RunEnvironment;
use crate::extra_subject::ExtraSubject;
use crate::load::reach::Reach;
use crate::peers::front::Edge;
use crate::peers::{Logs, Program, Running};
use crate::process::Process;

/// The role of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectRole {
    /// Byway, with the function that the question is about.
    Ours,
    /// Another program doing the same.
    Peer,
    /// A program that does less work: a lower bound of the cost.
    Floor,
    /// No program between generator and origin: the most that the load can reach.
    Ceiling,
}

impl SubjectRole {
    /// How its bar is drawn.
    pub(crate) const fn tone(self) -> Tone {
        match self {
            Self::Ours => Tone::Ours,
            Self::Peer => Tone::Peer,
            Self::Floor | Self::Ceiling => Tone::Bound,
        }
    }
}

/// One row of a table.
#[derive(Clone)]
pub(crate) struct Subject {
    /// Its name in the table.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: SubjectRole,
    /// Its process, whose CPU time counts; `None` for the ceiling.
    pub(crate) pid: Option<Pid>,
    /// How the origin is reached through it.
    pub(crate) reach: Reach,
    /// The row of ours that it is compared with.
    pub(crate) against: &'static str,
    /// Its access log, if it has one.
    pub(crate) access_log: Option<Arc<AccessLog>>,
}

/// All subjects. Dropping it kills the programs.
#[derive(Default)]
pub(crate) struct Roles {
    /// In the order of the table.
    pub(crate) subjects: Vec<Subject>,
    /// The subjects that were left out, and why.
    pub(crate) left_out: Vec<String>,
    programs: Vec<Process>,
    forward: Option<SocketAddr>,
}

impl Roles {
    /// Starts byway, and the extra subjects of `--also`; `ours` are its rows by name.
    pub(crate) async fn begin(
        env: &RunEnvironment,
        logs: Logs,
        ours: impl Fn(&Byway) -> Vec<(&'static str, Reach)>,
    ) -> Result<Self> {
        Self::enter_all(env, logs, None, ours).await
    }

    /// The same, where each has the listener and the origin of this edge too.
    pub(crate) async fn begin_secure(
        env: &RunEnvironment,
        logs: Logs,
        edge: &Edge,
        ours: impl Fn(&Byway) -> Vec<(&'static str, Reach)>,
    ) -> Result<Self> {
        Self::enter_all(env, logs, Some(edge), ours).await
    }

    async fn enter_all(
        env: &RunEnvironment,
        logs: Logs,
        edge: Option<&Edge>,
        ours: impl Fn(&Byway) -> Vec<(&'static str, Reach)>,
    ) -> Result<Self> {
        let mut roles = Self::default();
        for extra in iter::once(None).chain(env.extra.iter().map(Some)) {
            roles.enter(env, extra, logs, edge, &ours).await?;
        }
        Ok(roles)
    }

    /// Adds the byway under test, or another one, whose rows are compared with the same rows of the
    /// first.
    async fn enter(
        &mut self,
        env: &RunEnvironment,
        extra: Option<&ExtraSubject>,
        logs: Logs,
        edge: Option<&Edge>,
        ours: impl Fn(&Byway) -> Vec<(&'static str, Reach)>,
    ) -> Result<()> {
        let (program, files) = match extra {
            None => (&env.byway, "byway".to_owned()),
            Some(extra) => (&extra.program, format!("also-{}", extra.name)),
        };
        let byway = Byway::start(env, program, &files, logs, edge)
            .await
            .with_context(|| format!("starting {files}"))?;
        if logs == Logs::On && byway.access_log.is_none() {
            self.leave_out(format!("the access log of {files}: this byway has none"));
        }
        let rows = ours(&byway);
        if rows.is_empty() {
            self.leave_out(format!("{files}: it cannot do this"));
        }
        let first = rows.first().map_or("", |(name, _)| *name);
        let (access_log, pid) = (byway.access_log.map(Arc::new), Some(byway.process.pid()));
        self.subjects.extend(rows.into_iter().map(|(row, reach)| {
            let (name, role, against) = match extra {
                None => (row.to_owned(), SubjectRole::Ours, first),
                Some(extra) => (format!("{row}, {}", extra.name), SubjectRole::Peer, row),
            };
            Subject {
                name,
                role,
                pid,
                reach,
                against,
                access_log: access_log.clone(),
            }
        }));
        self.programs.push(byway.process);
        self.forward = self.forward.or(Some(byway.tcp));
        Ok(())
    }

    /// Adds byway as a forward that parses nothing, and the direct connection.
    pub(crate) fn bound(&mut self, env: &RunEnvironment) {
        let ours = self
            .subjects
            .first()
            .map(|first| (first.pid, first.against));
        let name = "floor: byway as TCP forward".to_owned();
        if let (Some((pid, against)), Some(forward)) = (ours, self.forward)
            && env.takes(&name)
        {
            let reach = Reach::Plain(forward);
            self.subjects.push(Subject {
                name,
                role: SubjectRole::Floor,
                pid,
                reach,
                against,
                access_log: None,
            });
        }
        self.ceiling(env);
    }

    /// Adds the direct connection.
    pub(crate) fn ceiling(&mut self, env: &RunEnvironment) {
        let name = "ceiling: direct connection".to_owned();
        if !env.takes(&name) {
            return;
        }
        self.subjects.push(Subject {
            name,
            role: SubjectRole::Ceiling,
            pid: None,
            reach: Reach::Plain(env.origin()),
            against: "",
            access_log: None,
        });
    }

    /// Adds a peer, if it is installed and starts.
    pub(crate) async fn add(
        &mut self,
        env: &RunEnvironment,
        program: Program,
        name: &str,
        against: &'static str,
        reach: fn(SocketAddr) -> Reach,
        start: impl Future<Output = Result<Running>>,
    ) {
        if env.takes(name) && program.path().is_none() {
            self.leave_out(format!("{name} is not installed: {}", program.remedy()));
            return;
        }
        self.start(env, SubjectRole::Peer, name, against, reach, start)
            .await;
    }

    /// Adds a subject, if it starts.
    pub(crate) async fn start(
        &mut self,
        env: &RunEnvironment,
        role: SubjectRole,
        name: &str,
        against: &'static str,
        reach: fn(SocketAddr) -> Reach,
        start: impl Future<Output = Result<Running>>,
    ) {
        if !env.takes(name) {
            return;
        }
        match start.await {
            Err(error) => self.leave_out(format!("{name} did not start: {error:#}")),
            Ok(Running {
                process,
                address,
                access_log,
            }) => {
                let (pid, reach, name) = (Some(process.pid()), reach(address), name.to_owned());
                let access_log = access_log.map(Arc::new);
                self.subjects.push(Subject {
                    name,
                    role,
                    pid,
                    reach,
                    against,
                    access_log,
                });
                self.programs.push(process);
            }
        }
    }

    /// Stops the programs in order.
    pub(crate) async fn end(self) -> Result<()> {
        for program in self.programs {
            program.stop().await?;
        }
        Ok(())
    }

    /// Notes why a subject is missing, once.
    pub(crate) fn leave_out(&mut self, why: String) {
        if !self.left_out.contains(&why) {
            self.left_out.push(why);
        }
    }
}
