//! Cases: how many cases a property test runs that has a usual number of its own.
//!
//! In:    the usual number, and `PROPTEST_CASES` of the environment.
//! Out:   the number for this run: the usual one where `PROPTEST_CASES` is 256 or not set, else in
//!        proportion.
//! Never: 0: such a test could not fail.

/// What proptest runs where neither a test nor the environment says otherwise.
const USUAL: u64 = 256;

/// `usual`, in proportion to `PROPTEST_CASES`. So that one variable makes every property test run
/// longer: proptest reads it for those tests alone that state no number.
pub fn cases(usual: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    in_proportion(usual, asked)
}

fn in_proportion(usual: u32, asked: Option<u32>) -> u32 {
    let cases = u64::from(usual) * u64::from(asked.unwrap_or(USUAL as u32)) / USUAL;
    u32::try_from(cases).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::in_proportion;

    #[test]
    fn a_test_with_a_number_of_its_own_runs_longer_when_all_are_to_run_longer() {
        for (usual, asked, cases) in [
            (64, None, 64),
            (64, Some(256), 64),
            (64, Some(5120), 1280),
            (20_000, Some(2560), 200_000),
            (64, Some(1), 1),
            (u32::MAX, Some(u32::MAX), u32::MAX),
        ] {
            assert_eq!(in_proportion(usual, asked), cases, "{usual} with {asked:?}");
        }
    }
}
