//! Resolve: from a File to a Plan.
//!
//! In:    a [`File`] and its [`Surroundings`].
//! Out:   a [`Plan`], or everything that is wrong with the values of the file.
//! Never: stops at the first error: a wrong value is noted and replaced by its default until the
//!        end.

mod acme;
mod advertise;
mod descriptors;
mod edge;
mod egress;
mod exit;
mod expose;
mod join;
mod listen;
mod parent;
mod serve;
mod tls;
mod upstream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use byway_dial::HostName;
use ipnet::IpNet;

pub(super) use self::edge::derived_route_name;
use self::join::Joins;
use self::listen::Listened;
pub(super) use self::listen::listeners_called;
use super::bind::Bind;
use super::diagnostic::Diagnostic;
use super::place::{At, Place, Text};
use super::plan::{DescriptorsPlan, Plan, UpstreamPlan};
use super::section::File;
use super::section::kind::{Count, Kind};
use super::surroundings::Surroundings;

/// The Plan that `file` means.
///
/// # Errors
/// Everything that is wrong with it, in no particular order.
pub fn resolve(file: &File, around: &Surroundings<'_>) -> Result<Plan, Vec<Diagnostic>> {
    let mut resolver = Resolver::new(around);
    let plan = resolver.plan(file);
    match resolver.diagnostics.is_empty() {
        true => Ok(plan),
        false => Err(resolver.diagnostics),
    }
}

/// What is known and noted while a file is resolved.
pub(super) struct Resolver<'s> {
    pub(super) around: &'s Surroundings<'s>,
    /// Files with secrets that were read. Each is read once: a pipe is empty the second time.
    files: RefCell<HashMap<PathBuf, String>>,
    diagnostics: Vec<Diagnostic>,
    upstreams: HashMap<Arc<str>, Arc<UpstreamPlan>>,
    listened: Listened,
    section_names: HashMap<String, Place>,
    domains: HashMap<HostName, Place>,
    joins: Joins,
    /// Where each line of the text ends.
    line_ends: Vec<usize>,
    /// How many sections with routes begin with each address.
    edges: HashMap<Bind, usize>,
    /// Where `https` is written first.
    first_https: Option<Place>,
    /// Where client certificates are named first.
    first_client_pattern: Option<Place>,
}

impl<'s> Resolver<'s> {
    fn new(around: &'s Surroundings<'s>) -> Self {
        Self {
            around,
            files: RefCell::default(),
            diagnostics: Vec::new(),
            upstreams: HashMap::new(),
            listened: Listened::default(),
            section_names: HashMap::new(),
            domains: HashMap::new(),
            joins: Joins::default(),
            line_ends: memchr::memchr_iter(b'\n', around.text.as_bytes()).collect(),
            edges: HashMap::new(),
            first_https: None,
            first_client_pattern: None,
        }
    }

    /// The number of the line where `place` begins, if it is in the file.
    fn line(&self, place: &Place) -> Option<usize> {
        match place {
            Place::Text { start, .. } => {
                Some(self.line_ends.partition_point(|end| end < start) + 1)
            }
            Place::Whole | Place::Flag { .. } => None,
        }
    }

    /// The text of a `password_file` or a `join_file`.
    fn read_file(&self, path: &Path) -> io::Result<String> {
        if let Some(text) = self.files.borrow().get(path) {
            return Ok(text.clone());
        }
        let text = (self.around.read_file)(path)?;
        self.files
            .borrow_mut()
            .insert(path.to_owned(), text.clone());
        Ok(text)
    }

    fn plan(&mut self, file: &File) -> Plan {
        let workers = self.workers(&file.workers);
        let mut limits = file.limits.resolve(self, "limits.");
        let asked_pool = self.pool(&file.pool);
        let mut pool = asked_pool.with_defaults(&file.pool, limits.connections);
        let spill = file.spill.resolve(self, "spill.");
        let asked_limits = limits.clone();
        let (shares, lowered) = self.descriptors(file, workers, spill.mode, &mut limits, &mut pool);
        let mut listeners = Vec::new();
        for edge in &file.edge {
            listeners.extend(self.edge(edge, &limits));
        }
        for egress in &file.proxy {
            listeners.extend(self.egress(egress, &limits, &spill));
        }
        for tcp in &file.tcp {
            listeners.extend(self.forward(tcp, &limits));
        }
        for serve in &file.serve {
            listeners.extend(self.serve(serve, &limits));
        }
        for exit in &file.exit {
            listeners.extend(self.exit(exit, &limits, &spill));
        }
        for expose in &file.expose {
            self.expose(expose);
        }
        let tls = self.tls(file, &listeners);
        self.refuse_emptiness(file);
        // Last, so that an address that is listed twice is reported at the metrics.
        listeners.extend(self.metrics(&file.metrics, &limits));
        Plan {
            generation: 1,
            workers,
            state: self.around.state.to_owned(),
            drain: file.drain.resolve(self, "drain."),
            dial: self.dial(&file.dial),
            descriptors: DescriptorsPlan {
                shares,
                lowered,
                asked_limits,
                asked_pool,
            },
            limits,
            pool,
            retry: file.retry.resolve(self, "retry."),
            spill,
            log: file.log.resolve(self, "log."),
            link: file.link.resolve(self, "link."),
            tls,
            listeners: listeners.into_iter().map(Arc::new).collect(),
            joins: std::mem::take(&mut self.joins).into_plans(),
        }
    }

    fn refuse_emptiness(&mut self, file: &File) {
        let listens = [
            file.edge.len(),
            file.proxy.len(),
            file.tcp.len(),
            file.serve.len(),
            file.exit.len(),
        ];
        if listens == [0; 5] && file.expose.is_empty() {
            let message = "there is nothing to listen on and nothing to expose";
            let help = "add an [[edge]], a [[proxy]], a [[tcp]], a [[serve]], an [[exit]] or an [[expose]] section; the \
                        README shows a small file";
            self.note(Diagnostic::new(&Place::Whole, message).help(help).absent());
        }
    }

    fn workers(&mut self, written: &Option<At<u64>>) -> NonZeroUsize {
        let cores = self.around.cores;
        let workers = Count::value(self, "workers", written, 1..=1024);
        workers.and_then(NonZeroUsize::new).unwrap_or(cores)
    }

    pub(super) fn note(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// `text` read as a `T`; what is wrong with it is noted.
    pub(super) fn parsed<T>(&mut self, key: &str, text: &Text) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.checked(key, &text.place, text.value.parse())
    }

    pub(super) fn checked<T>(
        &mut self,
        key: &str,
        place: &Place,
        result: Result<T, impl Display>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(Diagnostic::new(
                    place,
                    format!("`{}`: {error}", place.key_or_flag(key)),
                ));
                None
            }
        }
    }

    /// Every text of a list read as a `T`; wrong ones are noted and left out.
    fn all_parsed<T>(&mut self, key: &str, texts: &Option<At<Vec<Text>>>) -> Vec<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let texts = texts.iter().flat_map(|list| &list.value);
        texts.filter_map(|text| self.parsed(key, text)).collect()
    }

    /// Networks: `10.0.0.0/8`, or an address alone.
    fn networks(&mut self, key: &str, texts: &Option<At<Vec<Text>>>) -> Vec<IpNet> {
        let texts = texts.iter().flat_map(|list| &list.value);
        texts
            .filter_map(|text| self.checked(key, &text.place, network(&text.value)))
            .collect()
    }

    /// A path in the file: relative ones start at the folder of the file.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.around.folder.join(text)
    }

    /// A display name: 1 to 64 characters, none of them a control character.
    fn label(&mut self, key: &str, written: &Option<Text>) -> Option<Text> {
        let text = written.clone()?;
        let length = text.value.chars().count();
        let problem = match length {
            0 => "is empty: leave it out or write a word".to_owned(),
            65.. => format!("has {length} characters: the most is 64"),
            _ if text.value.contains(char::is_control) => "holds a control character".to_owned(),
            _ => return Some(text),
        };
        self.note(Diagnostic::new(&text.place, format!("`{key}` {problem}")));
        None
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        return Err(format!(
            "`{text}` is a URL: write its host alone, `{host}`, or an address or a network"
        ));
    }
    let net: IpNet = text.parse().map_err(|_| {
        format!("`{text}` is not a network: write 10.0.0.0/8, 2001:db8::/32 or an address alone such as 192.0.2.1")
    })?;
    if net.trunc() != net {
        let (whole, one) = (net.trunc(), net.addr());
        return Err(format!(
            "`{text}` is an address inside a network: write {whole} for the network or {one} for it alone"
        ));
    }
    Ok(net)
}
