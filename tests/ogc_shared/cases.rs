//! How many chance inputs are tried.

use proptest::prelude::ProptestConfig;

/// `usual`, or as many as `PROPTEST_CASES` asks for (`make search`).
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
