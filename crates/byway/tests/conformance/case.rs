//! Case: one row of the table: what is sent, by whom, and what RFC 9110 or 9112 says must become of
//! it.
//!
//! In:    bytes.
//! Out:   a verdict on what was seen at both ends.
//! Never: the program's own codec.

/// What must become of a request, or of a response.
#[derive(Clone, Copy)]
pub(crate) enum Must {
    /// An answer of 4xx or 5xx (or none), nothing at the origin, and no request behind it served.
    Refuse,
    /// An answer of 4xx or 5xx and nothing at the origin; the connection may go on, as its boundary
    /// is known.
    Decline,
    /// Served, and every text of the first list stands in what the origin got, none of the second
    /// does.
    Forward(&'static [&'static str], &'static [&'static str]),
    /// Either of the two: the RFC allows both, and a third thing would be wrong.
    ForwardOrRefuse(&'static [&'static str], &'static [&'static str]),
    /// The answer has these texts and not those; the request does not reach the origin.
    Answer(&'static [&'static str], &'static [&'static str]),
    /// Of a response: it arrives with these texts and without those, and the connection goes on.
    Pass(&'static [&'static str], &'static [&'static str]),
    /// Of a response: it is not passed off as a complete one: 502, or cut.
    Distrust,
    /// Of a response: passed or distrusted.
    PassOrDistrust(&'static [&'static str], &'static [&'static str]),
}

/// One row.
pub(crate) struct Case {
    /// Section of an RFC, such as `9112 6.1`.
    pub(crate) section: &'static str,
    /// What is tried, in a few words.
    pub(crate) name: &'static str,
    /// The request, to its last byte.
    pub(crate) request: &'static str,
    /// The origin's answer, to its last byte; empty for the usual one.
    pub(crate) response: &'static str,
    /// The judgement.
    pub(crate) must: Must,
}

/// What was seen.
pub(crate) struct Seen {
    /// Everything that the client got.
    pub(crate) answer: String,
    /// What the origin got of this row, each request with its body.
    pub(crate) forwarded: Vec<String>,
    /// Whether the request behind it was served.
    pub went_on: bool,
}

impl Case {
    /// `Err` says what is wrong.
    pub(crate) fn judge(&self, seen: &Seen) -> Result<(), String> {
        // The answer to the request behind is the last one, and no part of this row.
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
            // Without its length or its last chunk, and closed: no client takes it for whole.
            Must::Distrust if !seen.went_on && is_cut(answer) => Ok(()),
            Must::Distrust => Err(format!("passed on as complete: {status}")),
        }
    }
}

/// Names of fields and their colons are compared without regard to case.
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
