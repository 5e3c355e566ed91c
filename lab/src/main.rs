//! The lab: measures Byway beside the programs that it replaces, on one machine, in one run.
//!
//! In:    which questions to measure, how long and how often.
//! Out:   Markdown on stdout and in `lab/results/` (or the folder of `--into`), with a chart per
//!        question: figures, ratios within the run, who wins.
//! Never: compares figures of different runs, leaves a process, a folder or a namespace behind, or
//!        connects to anything but 127.0.0.1 and namespaces of its own.

mod access_log;
mod build;
mod byway;
mod case;
mod chart;
mod environment;
mod extra_subject;
mod grpc_origin;
mod load;
mod machine;
mod options;
mod origin;
mod path;
mod peers;
mod process;
mod report;
mod statistics;
mod syscalls;
mod two_nodes;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use environment::RunEnvironment;
use options::{Options, Verb};
use report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Verb::SpliceRelay { listen, to }) = options.verb {
        return exit(peers::splice::relay(listen, to));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ran = runtime
        .context("the lab's own runtime")
        .and_then(|runtime| runtime.block_on(until_signal(&options)));
    exit(ran)
}

fn exit(ran: Result<()>) -> ExitCode {
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A signal drops the run, and with it every process and folder that it created.
async fn until_signal(options: &Options) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ran = run(options) => ran,
        _ = terminate.recv() => bail!("ended by SIGTERM"),
        ended = tokio::signal::ctrl_c() => ended.map_err(Into::into).and_then(|()| bail!("ended by SIGINT")),
    }
}

async fn run(options: &Options) -> Result<()> {
    if options.install {
        peers::install::missing()?;
    }
    let mut report = Report::begin();
    if options.build_time() {
        report.add(build::measure().await?);
    }
    let cases = options.cases();
    if cases.is_empty() {
        anyhow::ensure!(
            options.build_time(),
            "no question is left: `--only` names none of these groups"
        );
        return report.finish(options);
    }
    let env = RunEnvironment::prepare(options).await?;
    report.describe(&env);
    for case in cases {
        let started = Instant::now();
        for section in case.run(&env).await? {
            report.add(section);
        }
        eprintln!(
            "lab: {} took {:.0} s",
            case.name(),
            started.elapsed().as_secs_f64()
        );
    }
    report.finish(options)
}
