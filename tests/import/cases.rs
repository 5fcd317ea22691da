//! `geofront import` of the files in this folder, by the real binary: the output is what stands
//! beside each file, `geofront check` accepts it, and no line of the old file is lost.

use std::path::{Path, PathBuf};

use super::{Files, geofront};

/// The files, each with the choices that it needs.
const CASES: [(&str, &[&str]); 11] = [
    ("georchestra-nginx.conf", &[]),
    ("training-haproxy.cfg", &[]),
    ("training-apache.conf", &[]),
    ("two-tomcats-haproxy.cfg", &["--main", "tomcat1"]),
    ("master-and-nodes-nginx.conf", &[]),
    ("probes-haproxy.cfg", &[]),
    ("services-nginx.conf", &[]),
    ("rewrite-apache.conf", &[]),
    ("several-applications-haproxy.cfg", &[]),
    ("context-nginx.conf", &[]),
    ("balancer-apache.conf", &[]),
];

/// First words of lines that are structure, or rules that decide which server is what.
const STRUCTURE: [&str; 26] = [
    "acl",
    "backend",
    "default_backend",
    "default-server",
    "defaults",
    "Define",
    "events",
    "frontend",
    "global",
    "http",
    "if",
    "listen",
    "location",
    "mode",
    "nameserver",
    "proxy_pass",
    "ProxyPass",
    "RewriteRule",
    "retry=10",
    "SSLCertificateFile",
    "SSLCertificateKeyFile",
    "SSLEngine",
    "ssl_certificate",
    "ssl_certificate_key",
    "upstream",
    "use_backend",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// The output of `geofront import` for a file of the folder.
fn imported(name: &str, choices: &[&str]) -> String {
    let path = folder().join(name).display().to_string();
    let said = geofront(&[&["import", path.as_str()], choices].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
    said.out
}

#[test]
fn every_balancer_is_converted_as_the_file_beside_it_shows() {
    for (name, choices) in CASES {
        let golden = folder().join(name).with_extension("toml");
        let out = imported(name, choices);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &out).expect("the golden file is written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            out,
            expected,
            "{} differs: if it should, run this test with UPDATE_GOLDEN=1",
            golden.display()
        );
    }
}

#[test]
fn the_printed_configuration_passes_the_check() {
    for (name, choices) in CASES {
        let files = Files::new(&[("geofront.toml", &imported(name, choices))]);
        let said = geofront(&["check", &files.text("geofront.toml")]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
    }
}

#[test]
fn no_line_of_the_old_file_is_lost() {
    for (name, choices) in CASES {
        let out = imported(name, choices);
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            let first = line.split_whitespace().next().unwrap_or("#");
            let is_structure = STRUCTURE.contains(&first)
                || first.starts_with(['#', '<', '}'])
                || line.starts_with("server {");
            let place = format!("{name}:{}", at + 1);
            let is_named = out.lines().any(|out| {
                out.split(&place)
                    .skip(1)
                    .any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
            });
            assert!(is_structure || is_named, "{place} is not named: {line}");
        }
    }
}

#[test]
fn a_file_that_shows_no_cluster_is_refused_with_the_remedy() {
    let two_tomcats = std::fs::read_to_string(folder().join("two-tomcats-haproxy.cfg")).unwrap();
    let one = two_tomcats.replace("  server tomcat2 127.0.0.1:8090 maxconn 32\n", "");
    let two_clusters = format!(
        "{two_tomcats}frontend b\n  bind *:81\n  default_backend s2\nbackend s2\n  server c 10.0.0.3:80\n  server d 10.0.0.4:80\n"
    );
    let ajp = "<Proxy balancer://gs>\n  BalancerMember ajp://10.0.0.1:8009\n</Proxy>\nProxyPass /geoserver balancer://gs/geoserver\n";
    let files = Files::new(&[
        ("main-unknown", &two_tomcats),
        ("one", &one),
        ("two-clusters", &two_clusters),
        ("ajp", ajp),
        ("includes", "http {\n  include conf.d/*.conf;\n}\n"),
        (
            "Caddyfile",
            "maps.example.org {\n  reverse_proxy 10.0.0.1:8080 10.0.0.2:8080\n}\n",
        ),
        (
            "refresh",
            "/opt/geoserver_datadir/global.xml IN_MODIFY /usr/local/bin/refresh.py\n",
        ),
    ]);
    for (name, choices, parts) in [
        (
            "main-unknown",
            &[][..],
            &[
                "the main is unknown",
                "--main NAME",
                "tomcat1 (127.0.0.1:8080)",
            ][..],
        ),
        (
            "main-unknown",
            &["--main", "x"][..],
            &["it has no server `x`", "tomcat2"][..],
        ),
        (
            "one",
            &["--main", "tomcat1"][..],
            &["it names one GeoServer only"][..],
        ),
        (
            "two-clusters",
            &[][..],
            &["several groups", "`servers` (line 14)", "--pool NAME"][..],
        ),
        (
            "two-clusters",
            &["--pool", "s3"][..],
            &["it has no group `s3`", "servers, s2"][..],
        ),
        ("ajp", &[][..], &["it names no server with an address"][..]),
        ("includes", &[][..], &["nginx -T"][..]),
        (
            "Caddyfile",
            &[][..],
            &["is no file of HAProxy, nginx or Apache"][..],
        ),
        (
            "refresh",
            &[][..],
            &["watch = \"/opt/geoserver_datadir\"", "incrontab -e"][..],
        ),
    ] {
        let said = geofront(&[&["import", files.text(name).as_str()], choices].concat());
        assert_eq!(
            (said.code, said.out.as_str()),
            (1, ""),
            "{name}: {}",
            said.err
        );
        for part in parts {
            assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
        }
    }
    let chosen = geofront(&[
        "import",
        &files.text("two-clusters"),
        "--pool",
        "s2",
        "--main",
        "c",
    ]);
    assert!(
        chosen.code == 0
            && chosen.out.contains("http://10.0.0.4:80")
            && !chosen.out.contains("\"http://127.0.0.1:8090\""),
        "{}{}",
        chosen.out,
        chosen.err
    );
}
