//! H2load: the load generator of nghttp2, as a second opinion on HTTP/2.
//!
//! In:    an address, how many connections and streams, which length, how long.
//! Out:   a running h2load on the core of the load; when it has ended, how many right responses it
//!        has received.
//! Never: a figure of a run with a wrong response.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use super::{Program, command};
use crate::environment::RunEnvironment;
use crate::load::tls::HOST;

/// The load of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct H2load {
    /// Connections open at once.
    pub(crate) connections: usize,
    /// Streams open at once on each.
    pub(crate) streams: usize,
    /// The length of each response.
    pub(crate) bytes: u64,
    /// Whether over TLS.
    pub(crate) secure: bool,
}

/// A running h2load. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    load: H2load,
    report: std::path::PathBuf,
}

impl H2load {
    /// Starts it for this time. TLS has the version, cipher and key exchange of the lab's own
    /// generator.
    pub(crate) fn start(
        self,
        env: &RunEnvironment,
        to: SocketAddr,
        time: Duration,
    ) -> Result<Running> {
        let report = env.dir().join("h2load.txt");
        let output = File::create(&report).context("creating h2load.txt")?;
        let scheme = if self.secure { "https" } else { "http" };
        let mut command = command(Program::H2load)?;
        command
            .arg(format!("--clients={}", self.connections))
            .arg(format!("--max-concurrent-streams={}", self.streams))
            .arg(format!("--duration={}ms", time.as_millis()))
            .arg(format!("--connect-to={to}"))
            .args(["--threads=1", "--npn-list=h2", "--groups=X25519"])
            .args(["--tls13-ciphers=TLS_AES_128_GCM_SHA256"])
            .args(["--header=user-agent: lab/1", "--header=accept: */*"])
            .args(["--header=accept-encoding: gzip, br"])
            .arg(format!("{scheme}://{HOST}/{}", self.bytes))
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output);
        // It inherits the core of this thread, which is that of the load.
        let child = command.spawn().context("starting h2load")?;
        Ok(Running {
            child,
            load: self,
            report,
        })
    }
}

impl Running {
    /// Waits for its end, and returns the number of responses if all were right.
    pub(crate) async fn end(mut self) -> Result<u64> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("h2load did not end within {PATIENCE:?}");
            }
            sleep(Duration::from_millis(5)).await;
        };
        let text = std::fs::read_to_string(&self.report).context("reading what h2load reports")?;
        ensure!(status.success(), "h2load ended with {status}: {text}");
        let summary = Summary::parse(&text).with_context(|| format!("h2load says {text:?}"))?;
        summary.check(self.load)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a program that has already ended and been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers of its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summary {
    succeeded: u64,
    /// Failed, errored, and timed out.
    wrong: u64,
    /// With a status of 2xx.
    of_2xx: u64,
    /// With another one.
    of_others: u64,
    /// Bytes of DATA, those of responses without an end included.
    data: u64,
}

impl Summary {
    /// Reads the lines `requests:`, `status codes:` and `traffic:`.
    fn parse(text: &str) -> Option<Self> {
        let line = |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin));
        // `12 total, 12 started, ...`: the number before a word.
        let number = |line: &str, word: &str| {
            let part = line.split(',').find(|part| part.trim().ends_with(word))?;
            part.split_whitespace().next()?.parse::<u64>().ok()
        };
        let requests = line("requests: ")?;
        let codes = line("status codes: ")?;
        // `12.3MB (12900000) total, 1.2KB (1234) headers (space savings 90%), 11MB (12000000) data`.
        let data = line("traffic: ")?.rsplit_once('(')?.1;
        Some(Self {
            succeeded: number(requests, "succeeded")?,
            wrong: number(requests, "failed")?
                + number(requests, "errored")?
                + number(requests, "timeout")?,
            of_2xx: number(codes, "2xx")?,
            of_others: number(codes, "3xx")? + number(codes, "4xx")? + number(codes, "5xx")?,
            data: data.strip_suffix(") data")?.parse().ok()?,
        })
    }

    /// The number of responses, if all were right. Those that were in flight at the end have a
    /// status or some data, but did not succeed.
    fn check(self, load: H2load) -> Result<u64> {
        let in_flight = (load.connections * load.streams) as u64;
        let least = self.succeeded * load.bytes;
        ensure!(
            self.wrong == 0 && self.of_others == 0 && self.succeeded > 0,
            "h2load received wrong responses: {self:?}"
        );
        ensure!(
            (self.succeeded..=self.succeeded + in_flight).contains(&self.of_2xx)
                && (least..=least + in_flight * load.bytes).contains(&self.data),
            "h2load received responses of another length: {self:?}"
        );
        Ok(self.succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: H2load = H2load {
        connections: 1,
        streams: 2,
        bytes: 1024,
        secure: true,
    };
    const REPORT: &str = "finished in 1.00s, 100.00 req/s, 110.50KB/s\n\
        requests: 100 total, 102 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 101 2xx, 0 3xx, 0 4xx, 0 5xx\n\
        traffic: 110.50KB (113152) total, 9.77KB (10004) headers (space savings 62.50%), 100.50KB (102912) data\n";

    #[test]
    fn a_report_with_right_responses_is_their_number() {
        let summary = Summary::parse(REPORT).unwrap();
        assert_eq!((summary.succeeded, summary.data), (100, 102_912));
        assert_eq!(summary.check(LOAD).unwrap(), 100);
    }

    #[test]
    fn a_report_with_a_wrong_response_is_an_error() {
        for (right, wrong) in [
            ("0 errored", "1 errored"),
            ("0 5xx", "3 5xx"),
            ("(102912) data", "(99000) data"),
            ("(102912) data", "(902912) data"),
            ("100 succeeded", "0 succeeded"),
        ] {
            let text = REPORT.replace(right, wrong);
            assert!(
                Summary::parse(&text).unwrap().check(LOAD).is_err(),
                "{wrong}"
            );
        }
        assert_eq!(Summary::parse("no such host\n"), None);
    }
}
