//! The keys about compressed answers.

/// As the cases of the parent.
pub(super) const CASES: &[(&str, &str, &str)] = &[
    (
        "compression.codings",
        "+",
        "+[compression]\ncodings = [\"zstd\", \"gzip\"]\n",
    ),
    (
        "compression.min_size",
        "+",
        "+[compression]\nmin_size = \"6KiB\"\n",
    ),
    (
        "compression.classes",
        "+",
        "+[compression]\nclasses = [\"capabilities\", \"feature\"]\n",
    ),
];
