//! Case: one row of the table: what is sent, by which side, and what RFC 9110 or 9112 requires.
//!
//! In:    bytes.
//! Out:   a verdict on what was received at both ends.
//! Never: the program's own codec.

/// What must happen to a request or a response.
#[derive(Clone, Copy)]
pub(crate) enum Must {
    /// An answer of 4xx or 5xx (or none), nothing at the origin, and the request behind it is not
    /// served.
    Refuse,
    /// An answer of 4xx or 5xx and nothing at the origin. The connection may stay open, as its
    /// boundary is known.
    Decline,
    /// Served. The request at the origin contains every text of the first list and none of the
    /// second.
    Forward(&'static [&'static str], &'static [&'static str]),
    /// Either of the two: the RFC allows both and nothing else.
    ForwardOrRefuse(&'static [&'static str], &'static [&'static str]),
    /// The answer contains the first texts and not the second. The request does not reach the
    /// origin.
    Answer(&'static [&'static str], &'static [&'static str]),
    /// For a response: it arrives with the first texts and without the second, and the connection
    /// stays open.
    Pass(&'static [&'static str], &'static [&'static str]),
    /// For a response: it is not passed on as complete. The client gets a 502 or a cut response.
    Distrust,
    /// For a response: passed or distrusted.
    PassOrDistrust(&'static [&'static str], &'static [&'static str]),
}

/// One row.
pub(crate) struct Case {
    /// Section of an RFC, such as `9112 6.1`.
    pub(crate) section: &'static str,
    /// What is tested, in a few words.
    pub(crate) name: &'static str,
    /// The complete request.
    pub(crate) request: &'static str,
    /// The complete answer of the origin; empty for the default answer.
    pub(crate) response: &'static str,
    /// The expected result.
    pub(crate) must: Must,
}

/// What was observed.
pub(crate) struct Seen {
    /// Everything that the client received.
    pub(crate) answer: String,
    /// What the origin received of this row, each request with its body.
    pub(crate) forwarded: Vec<String>,
    /// Whether the request behind it was served.
    pub went_on: bool,
}

impl Case {
    /// `Err` contains what is wrong.
    pub(crate) fn judge(&self, seen: &Seen) -> Result<(), String> {
        // The answer to the request behind is the last one, and is no part of this row.
        let behind = seen
            .answer
            .rfind("HTTP/1.")
            .filter(|_| seen.went_on)
            .unwrap_or(seen.answer.len());
        let answer = &seen.answer[..behind];
        if self.request.contains("Connection: close") && seen.went_on {
            return Err("the connection went on behind close".into());
        }
        if seen.forwarded.len() > 1 {
            return Err(format!(
                "{} requests reached the origin",
                seen.forwarded.len()
            ));
        }
        let status = status(answer);
        let refused = seen.forwarded.is_empty() && (status >= 400 || status == 0);
        match self.must {
            Must::Refuse if !refused => Err(format!(
                "not refused: {status}, {} forwarded",
                seen.forwarded.len()
            )),
            Must::Refuse if seen.went_on => Err("refused, and the connection went on".into()),
            Must::Refuse => Ok(()),
            Must::Decline if status == 0 || !refused => Err(format!(
                "not declined: {status}, {} forwarded",
                seen.forwarded.len()
            )),
            Must::Decline => Ok(()),
            Must::ForwardOrRefuse(..) if refused => Ok(()),
            Must::Forward(with, without) | Must::ForwardOrRefuse(with, without) => {
                let Some(forwarded) = seen.forwarded.first() else {
                    return Err(format!("not forwarded: {status}"));
                };
                texts("at the origin", forwarded, with, without)?;
                if status >= 400 || status == 0 {
                    Err(format!("forwarded, and answered {status}"))
                } else {
                    Ok(())
                }
            }
            Must::Answer(with, without) => {
                if !seen.forwarded.is_empty() {
                    return Err("forwarded".into());
                }
                texts("in the answer", answer, with, without)
            }
            Must::Distrust | Must::PassOrDistrust(..) if status == 502 || status == 0 => Ok(()),
            Must::PassOrDistrust(with, without) => texts("in the answer", answer, with, without),
            Must::Pass(with, without) => {
                texts("in the answer", answer, with, without)?;
                if seen.went_on {
                    Ok(())
                } else {
                    Err("the connection did not go on".into())
                }
            }
            // The length or the last chunk is missing and the connection is closed: no client
            // accepts it as complete.
            Must::Distrust if !seen.went_on && is_cut(answer) => Ok(()),
            Must::Distrust => Err(format!("passed on as complete: {status}")),
        }
    }
}

/// Field names and colons are compared case-insensitively.
fn texts(place: &str, all: &str, with: &[&str], without: &[&str]) -> Result<(), String> {
    let all = all.to_ascii_lowercase();
    if let Some(missing) = with
        .iter()
        .find(|text| !all.contains(&text.to_ascii_lowercase()))
    {
        return Err(format!("{missing:?} is missing {place}"));
    }
    match without
        .iter()
        .find(|text| all.contains(&text.to_ascii_lowercase()))
    {
        Some(there) => Err(format!("{there:?} stands {place}")),
        None => Ok(()),
    }
}

/// The final status; 0 for none.
pub(crate) fn status(answer: &str) -> u16 {
    let heads = answer
        .split("HTTP/1.")
        .skip(1)
        .filter_map(|head| head.get(2..5)?.parse().ok());
    heads
        .into_iter()
        .find(|status| !(100..200).contains(status) || *status == 101)
        .unwrap_or(0)
}

fn is_cut(answer: &str) -> bool {
    let lower = answer.to_ascii_lowercase();
    let Some((head, body)) = lower.split_once("\r\n\r\n") else {
        return true;
    };
    if head.contains("transfer-encoding: chunked") {
        return !body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| {
        line.strip_prefix("content-length:")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    length.is_some_and(|length| body.len() < length)
}
