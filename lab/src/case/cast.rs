//! Cast: who takes part in a question, and in which part.
//!
//! In:    running programs, or why one does not run.
//! Out:   subjects to measure in turn; a note for each that is left out.
//! Never: leaves a peer out without a word.

use anyhow::Result;
use rustix::process::Pid;

use crate::byway::Byway;
use crate::load::reach::Reach;
use crate::peers::{Program, Running};
use crate::process::Process;
use crate::setting::Setting;

/// In which part a subject appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Byway doing what the question is about.
    Ours,
    /// Another program doing the same.
    Peer,
    /// Byway doing less: what no amount of care could go below.
    Floor,
    /// Nobody between generator and origin: what the load can reach at most.
    Ceiling,
}

/// One row of a table.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Its name in the table.
    pub(crate) name: String,
    /// Its part.
    pub(crate) part: Part,
    /// Its process, whose CPU time counts; none for the ceiling.
    pub(crate) pid: Option<Pid>,
    /// How the origin is reached through it.
    pub(crate) reach: Reach,
    /// Which of our rows it is compared with.
    pub(crate) against: &'static str,
}

/// Everybody who takes part. Dropping it ends the programs.
pub(crate) struct Cast {
    /// In the order of the table.
    pub(crate) subjects: Vec<Subject>,
    /// Who was left out, and why.
    pub(crate) left_out: Vec<String>,
    programs: Vec<Process>,
}

impl Cast {
    /// A cast with byway and the direct way; `ours` are byway's rows by name.
    pub(crate) async fn begin(
        setting: &Setting,
        ours: impl FnOnce(&Byway) -> Vec<(&'static str, Reach)>,
    ) -> Result<Self> {
        let byway = Byway::start(setting).await?;
        let rows = ours(&byway);
        let pid = Some(byway.process.pid());
        let against = rows.first().map_or("", |(name, _)| *name);
        let row = |name: &str, part, pid, reach| Subject { name: name.to_owned(), part, pid, reach, against };
        let mut subjects: Vec<_> = rows.iter().map(|(name, reach)| row(name, Part::Ours, pid, *reach)).collect();
        subjects.push(row("floor: byway as TCP forward", Part::Floor, pid, Reach::Plain(byway.tcp)));
        subjects.push(row("ceiling: no one between", Part::Ceiling, None, Reach::Plain(setting.origin())));
        Ok(Self { subjects, left_out: Vec::new(), programs: vec![byway.process] })
    }

    /// Adds a peer, if it is there and starts.
    pub(crate) async fn add(
        &mut self,
        program: Program,
        name: &str,
        against: &'static str,
        reach: fn(std::net::SocketAddr) -> Reach,
        start: impl Future<Output = Result<Running>>,
    ) {
        if program.path().is_none() {
            self.leave_out(format!("{name} is not installed: {}", program.remedy()));
            return;
        }
        match start.await {
            Err(error) => self.leave_out(format!("{name} did not start: {error:#}")),
            Ok(Running { process, address }) => {
                let (pid, reach) = (Some(process.pid()), reach(address));
                let subject = Subject { name: name.to_owned(), part: Part::Peer, pid, reach, against };
                self.subjects.push(subject);
                self.programs.push(process);
            }
        }
    }

    /// Ends the programs in order.
    pub(crate) async fn end(self) -> Result<()> {
        for program in self.programs {
            program.stop().await?;
        }
        Ok(())
    }

    fn leave_out(&mut self, why: String) {
        if !self.left_out.contains(&why) {
            self.left_out.push(why);
        }
    }
}
