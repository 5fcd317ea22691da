//! The number of random inputs.

use proptest::prelude::ProptestConfig;

/// `usual`, or the number in `PROPTEST_CASES` (`make search`).
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        asked
    } else {
        ProptestConfig {
            cases: usual,
            ..asked
        }
    }
}
