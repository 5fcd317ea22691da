//! The keys for certificates by ACME.

/// As the cases of the parent.
pub(super) const CASES: &[(&str, &str, &str)] = &[
    (
        "listeners.NAME.acme",
        "+ACME",
        "+[listeners.a]\naddress = \"0.0.0.0:443\"\nacme = [\"a.example\", \"b.example\"]\n[acme]\nfolder = \"/acme\"\n",
    ),
    (
        "acme.contact",
        "+ACME",
        "+ACMEcontact = \"ops@a.example\"\n",
    ),
    (
        "acme.directory",
        "+ACME",
        "+ACMEdirectory = \"https://ca.example/directory\"\n",
    ),
    ("acme.ca", "+ACME", "+ACMEca = \"cert\"\n"),
    (
        "acme.challenge",
        "listen = \"0.0.0.0:80\"\n+ACME",
        "listen = \"0.0.0.0:80\"\n+ACMEchallenge = \"tls-alpn-01\"\n",
    ),
    (
        "acme.folder",
        "+ACME",
        "+[listeners.a]\naddress = \"0.0.0.0:443\"\nacme = \"a.example\"\n[acme]\nfolder = \"/other\"\n",
    ),
];
