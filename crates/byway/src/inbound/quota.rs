//! Quota: a number of permits that a reload may change.
//!
//! In:    the number of permits.
//! Out:   the semaphore that issues them, which stays the same.
//! Never: takes a permit from a connection that holds one. When there are too many, permits are
//!        retired as they are returned, and no new permit is issued until the number is correct.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A semaphore whose number of permits a reload may change. A permit in use is never taken back;
/// those above a lower number are retired as they are returned.
#[derive(Debug)]
pub struct Quota {
    permits: Arc<Semaphore>,
    most: Mutex<usize>,
}

impl Quota {
    /// `most` permits.
    pub fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(most)),
            most: Mutex::new(most),
        }
    }

    /// The permits.
    pub const fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Changes their number. Those in use above `most` are returned to be retired.
    pub fn set(&self, most: usize) -> Option<Excess> {
        let most = most.min(Semaphore::MAX_PERMITS);
        let mut held = self.most.lock();
        let before = std::mem::replace(&mut *held, most);
        if most > before {
            self.permits.add_permits(most - before);
            return None;
        }
        let in_use = (before - most) - self.permits.forget_permits(before - most);
        (in_use > 0).then(|| Excess {
            permits: Arc::clone(&self.permits),
            count: in_use,
        })
    }
}

/// Permits in use above the limit.
#[derive(Debug)]
#[must_use]
pub struct Excess {
    permits: Arc<Semaphore>,
    count: usize,
}

impl Excess {
    /// Retires them as they are returned, before any later waiter gets one. Cancel safe: on
    /// cancellation the permits that are not retired yet are free again.
    pub async fn retire(self) {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        if let Ok(permits) = self.permits.acquire_many(count).await {
            permits.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    fn free(quota: &Quota) -> usize {
        quota.permits().available_permits()
    }

    #[test]
    fn additional_permits_are_available_at_once() {
        let quota = Quota::new(2);
        assert!(quota.set(5).is_none());
        assert_eq!(free(&quota), 5);
        assert!(quota.set(usize::MAX).is_none());
        assert_eq!(free(&quota), Semaphore::MAX_PERMITS);
    }

    #[test]
    fn fewer_permits_are_taken_from_the_free_ones() {
        let quota = Quota::new(5);
        let _in_use = quota.permits().try_acquire_many(2).unwrap();
        assert!(quota.set(3).is_none());
        assert_eq!(free(&quota), 1);
    }

    #[tokio::test]
    async fn permits_in_use_are_retired_as_they_are_returned_before_another_is_issued() {
        let quota = Quota::new(4);
        let mut in_use: Vec<_> = (0..4)
            .map(|_| quota.permits().try_acquire().unwrap())
            .collect();
        let mut retiring = Box::pin(quota.set(2).unwrap().retire());
        assert!(poll_once(&mut retiring).await.is_pending());
        for left in [3, 2] {
            in_use.pop();
            assert_eq!(in_use.len(), left);
            assert!(
                quota.permits().try_acquire().is_err(),
                "{left} are in use, and the limit is 2"
            );
        }
        retiring.await;
        in_use.pop();
        assert_eq!(free(&quota), 1);
    }

    #[tokio::test]
    async fn permits_added_while_others_are_retired_replace_them() {
        let quota = Quota::new(4);
        let in_use = quota.permits().try_acquire_many(4).unwrap();
        let mut retiring = Box::pin(quota.set(1).unwrap().retire());
        assert!(poll_once(&mut retiring).await.is_pending());
        assert!(quota.set(6).is_none());
        retiring.await;
        assert_eq!(free(&quota), 2);
        drop(in_use);
        assert_eq!(free(&quota), 6);
    }

    async fn poll_once(future: &mut (impl Future<Output = ()> + Unpin)) -> Poll<()> {
        std::future::poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
    }
}
