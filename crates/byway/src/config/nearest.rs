//! Nearest: the known word nearest to a misspelt one.
//!
//! In:    a word as written and the valid words.
//! Out:   the nearest by edit distance, if it is near enough.
//! Never: corrects a word: it is only suggested.

/// The candidate nearest to `written`, if at most a third of the longer word's letters differ.
pub(super) fn nearest<'c>(
    written: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let written: Vec<char> = written
        .chars()
        .take(LONGEST + 1)
        .flat_map(char::to_lowercase)
        .collect();
    if written.len() > LONGEST {
        return None;
    }
    let with_distance = candidates.into_iter().map(|candidate| {
        let letters: Vec<char> = candidate
            .chars()
            .take(LONGEST)
            .flat_map(char::to_lowercase)
            .collect();
        let allowed = letters.len().max(written.len()).div_ceil(3);
        (edit_distance(&written, &letters), allowed, candidate)
    });
    with_distance
        .filter(|(distance, allowed, _)| distance <= allowed)
        .min_by_key(|(d, ..)| *d)
        .map(|(.., c)| c)
}

/// Longer words are not typing mistakes, and comparing two costs the product of their lengths.
const LONGEST: usize = 64;

/// How many letters have to be inserted, deleted, replaced or swapped with their neighbour.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &str, b: &str) -> usize {
        edit_distance(
            &a.chars().collect::<Vec<_>>(),
            &b.chars().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn letters_inserted_deleted_replaced_or_swapped_count_one_each() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisen", "listen"), 1);
        assert_eq!(distance("lissten", "listen"), 1);
        assert_eq!(distance("lizten", "listen"), 1);
        assert_eq!(distance("litsen", "listen"), 1);
        assert_eq!(distance("", "to"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn the_nearest_word_is_suggested_and_a_distant_one_is_not() {
        let known = ["listen", "trusted_proxies", "to"];
        assert_eq!(nearest("Lisen", known), Some("listen"));
        assert_eq!(nearest("trusted-proxies", known), Some("trusted_proxies"));
        assert_eq!(nearest("tO", known), Some("to"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }
}
