//! Cases: the number of cases of a property test that has its own default.
//!
//! In:    the default of the test, and `PROPTEST_CASES` of the environment.
//! Out:   the number for this run: the default if `PROPTEST_CASES` is 256 or not set, else in
//!        proportion.
//! Never: 0: such a test could not fail.

/// The number of cases that proptest runs if neither the test nor the environment sets one.
const USUAL: u64 = 256;

/// `usual`, in proportion to `PROPTEST_CASES`, so that one variable makes every property test run
/// longer: proptest itself applies it only to tests without a number of their own.
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
    fn a_test_with_its_own_number_scales_with_the_environment() {
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
