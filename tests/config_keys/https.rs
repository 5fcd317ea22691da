//! The keys for upstreams that are reached by https.

/// As the cases of the parent.
pub(super) const CASES: &[(&str, &str, &str)] = &[
    ("upstreams.NAME.ca", "+HTTPS", "+HTTPSca = \"cert\"\n"),
    (
        "upstreams.NAME.client_cert",
        "+HTTPSclient_cert = \"cert\"\nclient_key = \"key\"\n",
        "+HTTPSclient_cert = \"cert-copy\"\nclient_key = \"key\"\n",
    ),
    (
        "upstreams.NAME.client_key",
        "+HTTPSclient_cert = \"cert\"\nclient_key = \"key\"\n",
        "+HTTPSclient_cert = \"cert\"\nclient_key = \"key-copy\"\n",
    ),
    (
        "upstreams.NAME.server_name",
        "+HTTPS",
        "+HTTPSserver_name = \"gs.internal\"\n",
    ),
    (
        "geoserver.ca",
        "+HTTPS",
        "+HTTPS[geoserver]\nca = \"cert\"\n",
    ),
    (
        "geoserver.client_cert",
        "+HTTPS[geoserver]\nclient_cert = \"cert\"\nclient_key = \"key\"\n",
        "+HTTPS[geoserver]\nclient_cert = \"cert-copy\"\nclient_key = \"key\"\n",
    ),
    (
        "geoserver.client_key",
        "+HTTPS[geoserver]\nclient_cert = \"cert\"\nclient_key = \"key\"\n",
        "+HTTPS[geoserver]\nclient_cert = \"cert\"\nclient_key = \"key-copy\"\n",
    ),
    (
        "geoserver.server_name",
        "+HTTPS",
        "+HTTPS[geoserver]\nserver_name = \"gs.internal\"\n",
    ),
];
