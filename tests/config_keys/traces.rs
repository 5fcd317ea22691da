//! The keys about traces for OpenTelemetry.

/// As the cases of the parent.
pub(super) const CASES: &[(&str, &str, &str)] = &[
    (
        "traces.endpoint",
        "+[traces]\nendpoint = \"http://127.0.0.1:4318\"\n",
        "+[traces]\nendpoint = \"http://127.0.0.1:4319\"\n",
    ),
    ("traces.sample", "+TRACES", "+TRACESsample = 1\n"),
    (
        "traces.service_name",
        "+TRACES",
        "+TRACESservice_name = \"door\"\n",
    ),
    (
        "traces.attributes",
        "+TRACES",
        "+TRACESattributes = { a = \"b\" }\n",
    ),
    (
        "traces.headers",
        "+TRACES",
        "+TRACESheaders = { a = \"b\" }\n",
    ),
    (
        "traces.authorization_file",
        "+TRACES",
        "+TRACESauthorization_file = \"secret\"\n",
    ),
    (
        "traces.authorization_env",
        "+TRACES",
        "+TRACESauthorization_env = \"SECRET\"\n",
    ),
    ("traces.ca", "+TRACES", "+TRACESca = \"cert\"\n"),
];
