//! Keeper: all certificates from authorities that a node wants, and the task that keeps them.
//!
//! In:    names with their authorities, names that clients ask for, the time.
//! Out:   certificates in the store; the status of each.
//! Never: more than one order for a name at a time, or [`ORDERS_AT_ONCE`] in all; blocks a start or
//!        a handshake; gives up.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::Clock;
use super::authority::{AccountHolder, Authority};
use super::bundle::Bundle;
use super::challenge::{ChallengeKind, Solver};
use super::dns::Dns;
use super::failure::{Failure, FailureKind};
use super::folder::Failures;
use super::http_answers::HttpAnswers;
use super::name::Name;
use super::on_demand::{AllowRule, Bucket, MOST_NAMES, RateLimit};
use super::order::{self, Wanted};
use super::schedule::{Period, Schedule, Step};
use super::status::{Counts, Status};
use super::transport::HttpClient;
use crate::challenge::Challenges;
use crate::on_demand::OnDemand;
use crate::store::{CertificateStore, Change, Entry as Installed, Provider, SourceId};

/// Orders and questions to authorities under way at once.
pub const ORDERS_AT_ONCE: usize = 4;

/// How often the clock is looked at, at least: it may have been changed, or the machine may have
/// slept.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What a keeper works with.
pub struct Options {
    /// The state folder. Everything is below `acme` in it.
    pub state: PathBuf,
    /// Where certificates go.
    pub certificates: Arc<CertificateStore>,
    /// Where the certificates of TLS-ALPN-01 challenges go.
    pub challenges: Arc<Challenges>,
    /// The time of day.
    pub clock: Clock,
}

/// An authority, and what is wanted from it.
#[derive(Clone)]
pub struct Source {
    /// The authority and the account.
    pub authority: Authority,
    /// The names to keep certificates for. A name that an earlier source has is left to that one.
    pub names: Vec<Name>,
    /// The check to ask for.
    pub challenge: ChallengeKind,
    /// How DNS records are set, if they can be.
    pub dns: Option<Dns>,
    /// How long a record needs until the authority can see it, after it was set.
    pub dns_delay: Duration,
    /// Which other names may get a certificate when a client asks for them, and how often.
    pub on_demand: Option<(AllowRule, RateLimit)>,
    /// Sends requests to this authority.
    pub client: Arc<dyn HttpClient>,
}

/// Keeps certificates. Clones are the same keeper.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    answers: Arc<HttpAnswers>,
    counts: Counts,
    state: Mutex<State>,
    /// Something changed that [`Keeper::run`] has to look at.
    changed: Notify,
    /// A certificate was obtained, or a try failed.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    sources: Vec<Arc<OpenSource>>,
    entries: BTreeMap<Name, Entry>,
    /// The number of names on demand in `entries`.
    on_demand: usize,
}

struct OpenSource {
    source: Source,
    holder: AccountHolder,
    bucket: Mutex<Option<Bucket>>,
}

struct Entry {
    source: Arc<OpenSource>,
    is_on_demand: bool,
    bundle: Option<Bundle>,
    schedule: Schedule,
    is_busy: bool,
    last_failure: Option<(SystemTime, Failure)>,
}

/// What is done about a name that a client asks for.
#[derive(Debug)]
pub enum Request {
    /// There is a certificate.
    Ready,
    /// One is being obtained, after this many failures. [`Keeper::settled`] waits for it.
    Pending(u32),
    /// There will be none.
    Refused(Unaccepted),
}

/// Why a name gets no certificate on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// It is no host name, or a wildcard.
    NoName,
    /// No source allows it.
    NotAllowed,
    /// Too many new names lately.
    RateLimited,
    /// The last try failed, and the next one is not due.
    Failed,
}

impl Unaccepted {
    /// The word of it in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoName => "no_name",
            Self::NotAllowed => "not_allowed",
            Self::RateLimited => "rate_limited",
            Self::Failed => "failed",
        }
    }
}

/// A piece of work under way.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What came of a piece of work.
enum Done {
    Order(Name, Result<Bundle, Failure>),
    RenewalInfo(Name, Result<Option<(Period, Duration)>, Failure>),
}

impl Keeper {
    /// A keeper without names.
    pub fn new(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                answers: Arc::default(),
                counts: Counts::default(),
                state: Mutex::default(),
                changed: Notify::new(),
                settled: watch::Sender::new(0),
            }),
        }
    }

    /// What HTTP-01 challenges are answered with.
    pub fn http_answers(&self) -> &Arc<HttpAnswers> {
        &self.shared.answers
    }

    /// What happened since the start.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Replaces all sources. Certificates that earlier runs have left in the state folder are
    /// installed before this returns; those of names that are no longer wanted are removed from
    /// the sink, and stay in the folder. Orders under way end as they would have.
    ///
    /// # Errors
    /// The error of the state folder, with its path. The sources before stay in force.
    pub fn apply(&self, sources: Vec<Source>) -> Result<(), (PathBuf, io::Error)> {
        let mut state = self.shared.state.lock();
        let mut opened: Vec<Arc<OpenSource>> = Vec::new();
        for source in sources {
            let source = self.open(&state, source);
            let folder = &source.holder.folder;
            folder
                .open()
                .map_err(|error| (folder.path().to_owned(), error))?;
            opened.push(Arc::new(source));
        }
        let mut before = std::mem::take(&mut state.entries);
        let mut entries = BTreeMap::new();
        let mut changes = Vec::new();
        for source in &opened {
            for name in &source.source.names {
                if !entries.contains_key(name) {
                    let entry = self.entry(source, name, false, &mut before, &mut changes);
                    entries.insert(name.clone(), entry);
                }
            }
        }
        let mut on_demand = 0;
        for source in &opened {
            let Some((allow, _)) = &source.source.on_demand else {
                continue;
            };
            let known = before.keys().cloned().chain(source.holder.folder.names());
            let known: Vec<Name> = known
                .filter(|name| !name.is_wildcard() && !entries.contains_key(name))
                .filter(|name| allow(name.as_str()))
                .collect();
            for name in known {
                if on_demand < MOST_NAMES && !entries.contains_key(&name) {
                    let entry = self.entry(source, &name, true, &mut before, &mut changes);
                    entries.insert(name, entry);
                    on_demand += 1;
                }
            }
        }
        // Removals first: an account that changed has its names in both.
        let removed = before.keys().map(|name| Change::Remove(id(name)));
        let changes = removed.chain(changes).collect::<Vec<_>>();
        self.shared.options.certificates.update(changes);
        state.sources = opened;
        state.entries = entries;
        state.on_demand = on_demand;
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// The source with its account; that of an equal authority stays open.
    fn open(&self, state: &State, source: Source) -> OpenSource {
        let options = &self.shared.options;
        let client = source.client.clone();
        let now = (options.clock)();
        let limit = source.on_demand.as_ref().map(|(_, limit)| *limit);
        let earlier = state
            .sources
            .iter()
            .find(|earlier| earlier.source.authority == source.authority);
        let bucket = limit.map(|limit| {
            let mut bucket = earlier
                .and_then(|earlier| earlier.bucket.lock().take())
                .unwrap_or_else(|| Bucket::new(limit, now));
            bucket.set_limit(limit);
            bucket
        });
        OpenSource {
            holder: AccountHolder::new(source.authority.clone(), &options.state, client),
            source,
            bucket: Mutex::new(bucket),
        }
    }

    /// The entry for a name: as it was, or from the state folder.
    fn entry(
        &self,
        source: &Arc<OpenSource>,
        name: &Name,
        is_on_demand: bool,
        before: &mut BTreeMap<Name, Entry>,
        changes: &mut Vec<Change>,
    ) -> Entry {
        if let Some(earlier) = before.remove(name)
            && earlier.source.source.authority == source.source.authority
        {
            return Entry {
                source: source.clone(),
                is_on_demand,
                ..earlier
            };
        }
        let bundle = source.holder.folder.bundle(name).ok().flatten();
        let bundle = bundle.and_then(|text| match Bundle::read(&text, name) {
            Ok(bundle) => Some(bundle),
            Err(error) => {
                tracing::warn!(%name, %error, "cannot use the kept certificate; a new one is requested");
                None
            }
        });
        if let Some(bundle) = &bundle {
            changes.push(install(name, bundle));
        }
        let validity = bundle.as_ref().map(Bundle::validity);
        let schedule = Schedule::new(validity, fastrand::f64());
        let schedule = match source.holder.folder.failures(name) {
            Some(kept) => schedule.with_failures(kept.count, Some(kept.retry_at)),
            None => schedule,
        };
        Entry {
            source: source.clone(),
            is_on_demand,
            bundle,
            schedule,
            is_busy: false,
            last_failure: None,
        }
    }

    /// A client asks for `host`, which is in lower case and has no certificate installed. Does not
    /// block.
    pub fn request(&self, host: &str) -> Request {
        let now = (self.shared.options.clock)();
        let Ok(name) = Name::new(host) else {
            return Request::Refused(Unaccepted::NoName);
        };
        if name.is_wildcard() {
            return Request::Refused(Unaccepted::NoName);
        }
        let mut state = self.shared.state.lock();
        if let Some(entry) = state.entries.get(&name) {
            return match (&entry.bundle, entry.schedule.retry_at()) {
                (Some(_), _) => Request::Ready,
                (None, Some(at)) if at > now && !entry.is_busy => {
                    Request::Refused(Unaccepted::Failed)
                }
                _ => Request::Pending(entry.schedule.failures()),
            };
        }
        let allows = |source: &&Arc<OpenSource>| {
            let rule = source.source.on_demand.as_ref();
            rule.is_some_and(|(allow, _)| allow(name.as_str()))
        };
        let Some(source) = state.sources.iter().find(allows).cloned() else {
            return Request::Refused(Unaccepted::NotAllowed);
        };
        let has_room = state.on_demand < MOST_NAMES;
        let may = |bucket: &mut Option<Bucket>| bucket.as_mut().is_some_and(|b| b.take(now));
        if !has_room || !may(&mut source.bucket.lock()) {
            return Request::Refused(Unaccepted::RateLimited);
        }
        let mut changes = Vec::new();
        let entry = self.entry(&source, &name, true, &mut BTreeMap::new(), &mut changes);
        if !changes.is_empty() {
            self.shared.options.certificates.update(changes);
        }
        let is_ready = entry.bundle.is_some();
        let failures = entry.schedule.failures();
        tracing::info!(%name, "a client asks for a name that is allowed; requesting a certificate");
        state.entries.insert(name, entry);
        state.on_demand += 1;
        drop(state);
        self.shared.changed.notify_one();
        match is_ready {
            true => Request::Ready,
            false => Request::Pending(failures),
        }
    }

    /// Waits until the certificate for `host` is there (`true`), or a try after `failures` earlier
    /// ones has failed. Cancel safe; the caller sets the deadline.
    pub async fn settled(&self, host: &str, failures: u32) -> bool {
        let mut settled = self.shared.settled.subscribe();
        loop {
            match self.failures(host) {
                Some((true, _)) => return true,
                Some((false, now)) if now == failures => {}
                _ => return false,
            }
            if settled.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Whether there is a certificate for a host, and the failures so far.
    fn failures(&self, host: &str) -> Option<(bool, u32)> {
        let state = self.shared.state.lock();
        let entry = state.entries.get(host)?;
        Some((entry.bundle.is_some(), entry.schedule.failures()))
    }

    /// The status of all certificates, by name.
    pub fn status(&self) -> Vec<Status> {
        let state = self.shared.state.lock();
        state
            .entries
            .iter()
            .map(|(name, entry)| Status {
                name: name.clone(),
                directory: entry.source.source.authority.directory.clone(),
                is_on_demand: entry.is_on_demand,
                validity: entry.bundle.as_ref().map(Bundle::validity),
                renew_at: entry.schedule.renew_at(),
                is_busy: entry.is_busy,
                failures: entry.schedule.failures(),
                last_failure: entry.last_failure.clone(),
                next_try: entry.schedule.retry_at(),
            })
            .collect()
    }

    /// Renews the certificate of a name now, whatever was planned. `false` if it is not kept here.
    pub fn renew_now(&self, name: &Name) -> bool {
        let mut state = self.shared.state.lock();
        let Some(entry) = state.entries.get_mut(name) else {
            return false;
        };
        entry.schedule.hurry();
        drop(state);
        self.shared.changed.notify_one();
        true
    }

    /// Obtains and renews certificates until it is dropped. Run it once. Cancel safe: what is under
    /// way is continued by the next run.
    pub async fn run(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            let wait = loop {
                match self.next_work(running.len()) {
                    Ok(work) => running.push(work),
                    Err(wait) => break wait,
                }
            };
            tokio::select! {
                Some(done) = running.next() => self.note(done),
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The next piece of work that is due, or how long to wait for one.
    fn next_work(&self, running: usize) -> Result<Work, Duration> {
        if running >= ORDERS_AT_ONCE {
            return Err(LOOK_EVERY);
        }
        let now = (self.shared.options.clock)();
        let mut wait = LOOK_EVERY;
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        let mut forgotten = None;
        for (name, entry) in &mut state.entries {
            if entry.is_busy {
                continue;
            }
            let step = entry.schedule.step(now);
            if let Step::Wait(until) = step {
                let left = until.duration_since(now).unwrap_or_default();
                wait = wait.min(left.max(Duration::from_millis(10)));
                continue;
            }
            if entry.is_on_demand && !entry.is_still_allowed(name) {
                forgotten = Some(name.clone());
                break;
            }
            entry.is_busy = true;
            return Ok(self.work(name.clone(), entry, step == Step::RenewalInfo));
        }
        if let Some(name) = forgotten {
            tracing::info!(%name, "no longer allowed; its certificate is not renewed");
            state.entries.remove(&name);
            state.on_demand = state.on_demand.saturating_sub(1);
            drop(guard);
            self.shared.options.certificates.remove(id(&name));
            wait = Duration::ZERO;
        }
        Err(wait)
    }

    fn work(&self, name: Name, entry: &Entry, is_question: bool) -> Work {
        let source = entry.source.clone();
        let bundle = entry.bundle.clone();
        let failures = entry.schedule.failures();
        let solver = Solver {
            http: self.shared.answers.clone(),
            tls: self.shared.options.challenges.clone(),
            dns: source.source.dns.clone(),
            dns_delay: source.source.dns_delay,
            clock: self.shared.options.clock.clone(),
        };
        Box::pin(async move {
            if let (true, Some(bundle)) = (is_question, &bundle) {
                let asked = order::renewal_info(&source.holder, bundle).await;
                return Done::RenewalInfo(name, asked);
            }
            let wanted = Wanted {
                name: &name,
                holder: &source.holder,
                solver: &solver,
                challenge: source.source.challenge,
                replaces: bundle.as_ref(),
                failures,
            };
            let result = order::obtain(&wanted).await;
            Done::Order(name, result)
        })
    }

    fn note(&self, done: Done) {
        let now = (self.shared.options.clock)();
        match done {
            Done::Order(name, Ok(bundle)) => self.note_issued(&name, bundle, now),
            Done::Order(name, Err(failure)) => self.note_failed(&name, failure, now),
            Done::RenewalInfo(name, asked) => {
                let mut state = self.shared.state.lock();
                let Some(entry) = state.entries.get_mut(&name) else {
                    return;
                };
                entry.is_busy = false;
                match asked {
                    Ok(Some((window, again))) => {
                        let random = fastrand::f64();
                        entry.schedule.renewal_info(now, window, again, random);
                    }
                    Ok(None) => entry.schedule.no_renewal_info(now, true),
                    Err(error) => {
                        tracing::debug!(%name, %error, "no suggestion when to renew");
                        entry.schedule.no_renewal_info(now, false);
                    }
                }
            }
        }
    }

    fn note_issued(&self, name: &Name, bundle: Bundle, now: SystemTime) {
        self.shared.counts.note_issued();
        let validity = bundle.validity();
        let mut state = self.shared.state.lock();
        if let Some(entry) = state.entries.get_mut(name) {
            self.shared
                .options
                .certificates
                .update([install(name, &bundle)]);
            let next = entry.schedule.issued(now, validity, fastrand::f64());
            entry.bundle = Some(bundle);
            entry.is_busy = false;
            entry.last_failure = None;
            // For the next process, as after a failure. Without the file nothing is wrong.
            let kept = Failures {
                count: 0,
                retry_at: next,
            };
            let _ = entry.source.holder.folder.put_failures(name, kept);
            let days = validity.end.duration_since(validity.start);
            let days = days.unwrap_or_default().as_secs() / 86_400;
            let directory = &*entry.source.source.authority.directory;
            tracing::info!(%name, directory, days, "obtained a certificate");
            if !validity.contains(now) {
                tracing::warn!(%name, "by this machine's clock the new certificate is not valid: check the time");
            }
        }
        drop(state);
        self.shared.settled.send_modify(|count| *count += 1);
    }

    fn note_failed(&self, name: &Name, failure: Failure, now: SystemTime) {
        self.shared.counts.note_failed(failure.kind);
        let mut state = self.shared.state.lock();
        if let Some(entry) = state.entries.get_mut(name) {
            entry.is_busy = false;
            let at = entry
                .schedule
                .failed(now, failure.retry_after, fastrand::f64());
            let seconds = at.duration_since(now).unwrap_or_default().as_secs();
            let class = failure.kind.word();
            let kept = Failures {
                count: entry.schedule.failures(),
                retry_at: at,
            };
            let kept = entry.source.holder.folder.put_failures(name, kept);
            tracing::warn!(
                %name, class, error = %failure, next_try_seconds = seconds,
                "cannot obtain a certificate"
            );
            if let (Err(error), false) = (kept, failure.kind == FailureKind::State) {
                tracing::warn!(%name, %error, "cannot keep when to try again");
            }
            entry.last_failure = Some((now, failure));
        }
        drop(state);
        self.shared.settled.send_modify(|count| *count += 1);
    }
}

impl OnDemand for Keeper {
    fn obtain<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            match self.request(name) {
                Request::Pending(failures) => {
                    self.settled(name, failures).await;
                }
                Request::Ready => {}
                Request::Refused(why) => {
                    tracing::debug!(name, class = why.word(), "no certificate on demand");
                }
            }
        })
    }
}

/// The id of the certificate for a name in the store.
fn id(name: &Name) -> SourceId {
    SourceId::new(Provider::Acme, name.as_str())
}

fn install(name: &Name, bundle: &Bundle) -> Change {
    let entry = Installed {
        certificate: bundle.certificate().clone(),
        names: Some(vec![name.to_string()]),
        is_default: false,
    };
    Change::Install(id(name), entry)
}

impl Entry {
    fn is_still_allowed(&self, name: &Name) -> bool {
        let rule = self.source.source.on_demand.as_ref();
        rule.is_some_and(|(allow, _)| allow(name.as_str()))
    }
}

#[cfg(test)]
mod tests;
