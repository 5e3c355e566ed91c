//! Order: from a name to a certificate (RFC 8555 section 7.4).
//!
//! In:    an account, a name, the certificate that is replaced.
//! Out:   a certificate, in the state folder; or why not.
//! Never: starts over what a crash or a timeout interrupted, if the authority still has it; takes
//!        longer than [`ORDER_DEADLINE`] and the removal of DNS records.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::authority::AccountHolder;
use super::bundle::Bundle;
use super::challenge::{Answers, ChallengeKind, Solver};
use super::failure::{Failure, FailureKind};
use super::folder::PendingOrder;
use super::name::Name;
use super::schedule::Period;

/// How long an order may take. An unfinished one is continued by the next try.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(300);

/// What to obtain, and how.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a Name,
    pub(crate) holder: &'a AccountHolder,
    pub(crate) solver: &'a Solver,
    pub(crate) challenge: ChallengeKind,
    /// The certificate in use.
    pub(crate) replaces: Option<&'a Bundle>,
    /// Failures so far.
    pub(crate) failures: u32,
}

/// Obtains a certificate and keeps it in the state folder.
///
/// Cancel safe: the next call continues the order. DNS records may stay.
pub(crate) async fn obtain(wanted: &Wanted<'_>) -> Result<Bundle, Failure> {
    let answers = Answers::new(wanted.solver);
    // A Retry-After of an earlier request is not for this one.
    wanted.holder.transport.take_retry_after();
    let result = match tokio::time::timeout(ORDER_DEADLINE, wanted.run(&answers)).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!(
                "the order did not end within {} s",
                ORDER_DEADLINE.as_secs()
            );
            Err(Failure::new(FailureKind::Deadline, text))
        }
    };
    answers.remove_records().await;
    result.map_err(|mut failure| {
        failure.retry_after = wanted.holder.transport.take_retry_after();
        failure
    })
}

/// When the authority suggests to replace a certificate, and how long to wait before asking again.
/// `Ok(None)` if it makes no suggestions.
pub(crate) async fn renewal_info(
    holder: &AccountHolder,
    bundle: &Bundle,
) -> Result<Option<(Period, Duration)>, Failure> {
    let Some(id) = identifier(bundle) else {
        return Ok(None);
    };
    let asked = holder.account().await?.renewal_info(&id).await;
    let (info, again) = match asked {
        Ok(answer) => answer,
        Err(Error::Unsupported(_)) => return Ok(None),
        Err(error) => return Err(Failure::of(&error)),
    };
    let time = |seconds: i64| {
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        std::time::SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let window = info.suggested_window;
    let start = time(window.start.unix_timestamp());
    let end = time(window.end.unix_timestamp());
    match (start, end) {
        (Some(start), Some(end)) if start <= end => Ok(Some((Period { start, end }, again))),
        _ => Err(Failure::new(
            FailureKind::Authority,
            "the suggested window makes no sense",
        )),
    }
}

fn identifier(bundle: &Bundle) -> Option<CertificateIdentifier<'static>> {
    let id = CertificateIdentifier::try_from(bundle.der()?).ok()?;
    Some(id.into_owned())
}

fn api(error: Error) -> Failure {
    Failure::of(&error)
}

impl Wanted<'_> {
    async fn run(&self, answers: &Answers) -> Result<Bundle, Failure> {
        let (mut order, pending) = match self.resumed().await? {
            Some(resumed) => resumed,
            None => self.begun().await?,
        };
        let result = self.finish(&mut order, &pending, answers).await;
        if let Err(failure) = &result {
            // What the authority has refused stays refused; what was cut off can be continued.
            let may_go_on = [
                FailureKind::Unreachable,
                FailureKind::Deadline,
                FailureKind::State,
            ];
            if !may_go_on.contains(&failure.kind) {
                self.holder.folder.remove_order(self.name);
            }
        }
        result
    }

    /// The order that was begun before, if the authority still has it.
    async fn resumed(&self) -> Result<Option<(Order, PendingOrder)>, Failure> {
        let kept = self
            .holder
            .folder
            .order(self.name)
            .map_err(|error| self.state(&error))?;
        let Some(pending) = kept else {
            return Ok(None);
        };
        let account = self.holder.account().await?;
        match account.order(pending.url.clone()).await {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    tracing::debug!(name = %self.name, url = pending.url, "continuing an order");
                    return Ok(Some((order, pending)));
                }
            }
            Err(Error::Api(_)) => {}
            Err(error) => return Err(api(error)),
        }
        self.holder.folder.remove_order(self.name);
        Ok(None)
    }

    /// A new order. It is kept before anything else happens.
    async fn begun(&self) -> Result<(Order, PendingOrder), Failure> {
        let key = KeyPair::generate().map_err(|error| self.unusable(&error))?;
        let account = self.holder.account().await?;
        let order = match self.new_order(&account).await {
            Err(error) if Failure::is_unknown_account(&error) => {
                tracing::warn!(
                    directory = self.holder.authority.directory,
                    "the authority does not know the account; creating another"
                );
                self.holder.forget(&account).await;
                let account = self.holder.account().await?;
                self.new_order(&account).await
            }
            made => made,
        };
        let order = order.map_err(api)?;
        let pending = PendingOrder {
            url: order.url().to_owned(),
            key: key.serialize_pem(),
        };
        let kept = self.holder.folder.put_order(self.name, &pending);
        kept.map_err(|error| self.state(&error))?;
        Ok((order, pending))
    }

    async fn new_order(&self, account: &Account) -> Result<Order, Error> {
        let identifiers = [Identifier::Dns(self.name.to_string())];
        let order = || {
            let order = NewOrder::new(&identifiers);
            match &self.holder.authority.profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        if let Some(id) = self.replaces.and_then(identifier) {
            match account.new_order(&order().replaces(id)).await {
                // The authority has no such suggestions, or does not know the certificate as one
                // of this account: without them an order is an order all the same.
                Err(Error::Unsupported(_) | Error::Other(_)) => {}
                Err(Error::Api(problem)) if may_be_about_replacing(&problem) => {}
                made => return made,
            }
        }
        account.new_order(&order()).await
    }

    async fn finish(
        &self,
        order: &mut Order,
        pending: &PendingOrder,
        answers: &Answers,
    ) -> Result<Bundle, Failure> {
        if order.state().status == OrderStatus::Pending {
            self.authorize(order, answers).await?;
        }
        let polls = RetryPolicy::new()
            .initial_delay(Duration::from_millis(250))
            .backoff(1.3)
            .timeout(ORDER_DEADLINE);
        if order.state().status == OrderStatus::Pending {
            match order.poll_ready(&polls).await {
                Ok(OrderStatus::Invalid) | Err(Error::Api(_)) => {
                    return Err(refusal(order).await);
                }
                Ok(_) => {}
                Err(error) => return Err(api(error)),
            }
        }
        if order.state().status == OrderStatus::Ready {
            let request = self
                .request(&pending.key)
                .map_err(|error| self.unusable(&error))?;
            order.finalize_csr(&request).await.map_err(api)?;
        }
        let chain = match order.state().status {
            OrderStatus::Valid => order.certificate().await.map_err(api)?.unwrap_or_default(),
            _ => order.poll_certificate(&polls).await.map_err(api)?,
        };
        let text = format!("{}{chain}", pending.key);
        let bundle = Bundle::read(&text, self.name).map_err(|error| self.unusable(&error))?;
        let folder = &self.holder.folder;
        folder
            .put_bundle(self.name, &text)
            .map_err(|error| self.state(&error))?;
        // Only now: until the bundle is kept, the order has the only way to it.
        folder.remove_order(self.name);
        Ok(bundle)
    }

    /// Answers all challenges that are not answered yet.
    async fn authorize(&self, order: &mut Order, answers: &Answers) -> Result<(), Failure> {
        let has_dns = self.solver.dns.is_some();
        let types = self.challenge.types(has_dns, self.failures);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(api)?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => return Err(failed_challenge(&authorization)),
            }
            let offered = |kind: &ChallengeType| {
                authorization
                    .challenges
                    .iter()
                    .any(|one| one.r#type == *kind)
            };
            let Some(kind) = types.iter().find(|kind| offered(kind)).cloned() else {
                let text = match self.name.is_wildcard() {
                    true => format!("{}: a wildcard needs dns-01", self.name),
                    false => format!("{}: the authority does not offer this challenge", self.name),
                };
                return Err(Failure::new(FailureKind::Challenge, text));
            };
            let Some(mut challenge) = authorization.challenge(kind) else {
                continue;
            };
            answers.set(self.name.base(), &challenge).await?;
            // One that is being checked already was announced before a restart.
            if challenge.status == ChallengeStatus::Pending {
                challenge.set_ready().await.map_err(api)?;
            }
        }
        Ok(())
    }

    /// The certificate signing request for a key.
    fn request(&self, key: &str) -> Result<Vec<u8>, rcgen::Error> {
        let key = KeyPair::from_pem(key)?;
        let mut params = CertificateParams::new([self.name.to_string()])?;
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&key)?.der().to_vec())
    }

    fn state(&self, error: &std::io::Error) -> Failure {
        let path = self.holder.folder.path().display();
        Failure::new(
            FailureKind::State,
            format_args!("cannot use {path}: {error}"),
        )
    }

    fn unusable(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(
            FailureKind::Certificate,
            format_args!("{}: {error}", self.name),
        )
    }
}

/// Whether an order could be accepted if it replaced nothing.
fn may_be_about_replacing(problem: &instant_acme::Problem) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    [
        "alreadyReplaced",
        "malformed",
        "conflict",
        "notFound",
        "unauthorized",
        "serverInternal",
    ]
    .iter()
    .any(|end| kind.ends_with(end))
}

/// Why the authority made an order invalid: the error of the challenge says more than the order's.
async fn refusal(order: &mut Order) -> Failure {
    let of_order = order.state().error.as_ref().map(Failure::of_problem);
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_ok()
            && authorization.status == AuthorizationStatus::Invalid
        {
            return failed_challenge(&authorization);
        }
    }
    of_order
        .unwrap_or_else(|| Failure::new(FailureKind::Challenge, "the authority gives no reason"))
}

fn failed_challenge(authorization: &instant_acme::AuthorizationHandle<'_>) -> Failure {
    let mut errors = authorization.challenges.iter();
    match errors.find_map(|challenge| challenge.error.as_ref()) {
        Some(problem) => Failure::of_problem(problem),
        None => Failure::new(FailureKind::Challenge, "the authority gives no reason"),
    }
}
