//! The top of a file: the threads, and all sections.

use super::prelude::*;
use super::{
    Acme, Certificate, Dial, Drain, Edge, Egress, Exit, Expose, Limits, Link, Log, Metrics, Pool,
    Retry, Serve, Spill, Tcp, Tls,
};

keys! {
    /// A whole config file.
    ///
    /// At least one `[[edge]]`, `[[proxy]]`, `[[tcp]]`, `[[serve]]`, `[[exit]]` or `[[expose]]` is
    /// needed. Relative paths start at the folder of the file; those of Unix sockets have to be
    /// absolute.
    pub struct File {
        /// Threads that serve.
        ///
        /// Each has a runtime and a socket of its own. They do not block; more of them than cores
        /// only add context switches. Takes effect at the next start.
        workers: Count, in 1..=1024, example 2, default "the cores that the process may use";
        /// See [`Drain`].
        drain: Drain;
        /// See [`Dial`].
        dial: Dial;
        /// See [`Limits`].
        limits: Limits;
        /// See [`Pool`].
        pool: Pool;
        /// See [`Retry`].
        retry: Retry;
        /// See [`Spill`].
        spill: Spill;
        /// See [`Log`].
        log: Log;
        /// See [`Metrics`].
        metrics: Metrics;
        /// See [`Link`].
        link: Link;
        /// See [`Tls`].
        tls: Tls;
        /// See [`Certificate`].
        certificate: Vec<Certificate>;
        /// See [`Acme`].
        acme: Vec<Acme>;
        /// See [`Edge`].
        edge: Vec<Edge>;
        /// See [`Egress`].
        proxy: Vec<Egress>;
        /// See [`Tcp`].
        tcp: Vec<Tcp>;
        /// See [`Serve`].
        serve: Vec<Serve>;
        /// See [`Exit`].
        exit: Vec<Exit>;
        /// See [`Expose`].
        expose: Vec<Expose>;
    }
}
