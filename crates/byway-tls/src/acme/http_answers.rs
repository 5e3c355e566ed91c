//! HTTP answers: what HTTP-01 challenges are answered with (RFC 8555 section 8.3).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// The path of a challenge, without its token.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// Tokens with their answers. It has an entry for each challenge under way, and no others.
#[derive(Debug, Default)]
pub struct HttpAnswers {
    answers: RwLock<HashMap<String, Arc<str>>>,
}

impl HttpAnswers {
    /// The answer to a request for this path, if it is one of a challenge under way. Any host may
    /// ask: the answer proves the account, and is no secret.
    pub fn answer(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(CHALLENGE_PATH)?;
        self.answers.read().get(token).cloned()
    }

    /// Answers for `token` until the guard is dropped.
    pub(crate) fn set(self: &Arc<Self>, token: &str, answer: &str) -> HttpAnswer {
        let token = token.to_owned();
        self.answers.write().insert(token.clone(), answer.into());
        HttpAnswer {
            answers: self.clone(),
            token,
        }
    }
}

/// An answer, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    answers: Arc<HttpAnswers>,
    token: String,
}

impl Drop for HttpAnswer {
    fn drop(&mut self) {
        self.answers.answers.write().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_while_it_is_under_way() {
        let answers = Arc::new(HttpAnswers::default());
        let guard = answers.set("to-ken_1", "to-ken_1.thumb");
        let path = "/.well-known/acme-challenge/to-ken_1";
        assert_eq!(answers.answer(path).as_deref(), Some("to-ken_1.thumb"));
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/to",
            "/to-ken_1",
        ] {
            assert_eq!(answers.answer(other), None);
        }
        drop(guard);
        assert_eq!(answers.answer(path), None);
    }
}
