//! The keys of several clusters.

/// As the cases of the parent.
pub(super) const CASES: &[(&str, &str, &str)] = &[
    (
        "clusters.NAME.file",
        "[clusters.a]\nfile = \"a.toml\"\npath = \"/a\"\n",
        "[clusters.a]\nfile = \"b.toml\"\npath = \"/a\"\n",
    ),
    (
        "clusters.NAME.hosts",
        "[clusters.a]\nfile = \"a.toml\"\npath = \"/a\"\n",
        "[clusters.a]\nfile = \"a.toml\"\npath = \"/a\"\nhosts = [\"a.example\", \"*.b.example\"]\n",
    ),
    (
        "clusters.NAME.path",
        "[clusters.a]\nfile = \"a.toml\"\nhosts = \"*\"\n",
        "[clusters.a]\nfile = \"a.toml\"\nhosts = \"*\"\npath = \"/a\"\n",
    ),
];
