//! The keys about pages of other origins.

/// As the cases of the parent.
pub(super) const CASES: &[(&str, &str, &str)] = &[
    (
        "cors.origins",
        "+",
        "+[cors]\norigins = \"https://a.example.org\"\n",
    ),
    (
        "cors.methods",
        "+",
        "+[cors]\nmethods = [\"GET\", \"PUT\"]\n",
    ),
    (
        "cors.headers",
        "+",
        "+[cors]\nheaders = \"authorization\"\n",
    ),
    ("cors.credentials", "+", "+[cors]\ncredentials = true\n"),
    ("cors.max_age", "+", "+[cors]\nmax_age = \"6m\"\n"),
];
