//! Converts the limits of a GeoServer's `controlflow.properties` into `[limits]`.
//!
//! Every rule with a counterpart becomes a line of `control_flow`; every other rule stays as a
//! comment with the reason.

use super::super::properties::{Property, properties};
use crate::config::control_flow::{Statement, statement};

const HEAD: &str = "\
# Numbers are those of one GeoServer, and count for the whole cluster here: for rules that begin with `ows.`, multiply them by
# the number of replicas. A user is who the trusted proxy names, and else an address; there is no cookie.
";

/// True if any line is a rule of control-flow.
pub(super) fn is_control_flow(text: &str) -> bool {
    properties(text).iter().any(is_rule)
}

/// The rules as a configuration. `file` is the name of the old file.
pub(super) fn convert(text: &str, file: &str) -> String {
    format!("# From {file}.\n{HEAD}{}", limits(&properties(text)))
}

fn is_rule(property: &Property) -> bool {
    statement(&format!("{}={}", property.key, property.value)).is_ok()
}

/// The table `[limits]`.
fn limits(properties: &[Property]) -> String {
    let mut timeout = String::new();
    let mut rules = String::new();
    for (at, property) in properties.iter().enumerate() {
        let line = format!("{}={}", property.key, property.value);
        let is_last = properties[at + 1..]
            .iter()
            .all(|later| !later.key.eq_ignore_ascii_case(&property.key));
        match statement(&line) {
            Ok(_) if !is_last => rules.push_str(&format!(
                "    # left out, because it is given again below: {}\n",
                shown(&line)
            )),
            Ok(Statement::Timeout(after)) => {
                timeout = format!("queue_timeout = \"{}s\"\n", after.as_secs())
            }
            Ok(
                Statement::Rule(_)
                | Statement::Blacklist(_)
                | Statement::Whitelist(_)
                | Statement::Priority(_),
            ) => {
                rules.push_str(&format!("    {},\n", toml::Value::String(line)));
            }
            Err(wrong) => rules.push_str(&format!(
                "    # left out: {}\n    # {}\n",
                shown(&line),
                shown(&wrong.title)
            )),
        }
    }
    format!("[limits]\n{timeout}control_flow = [\n{rules}]\n")
}

/// The text on one line.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, MapEnvironment};

    /// The examples of GeoServer and geOrchestra.
    const FILE: &str = "\
        # global\nows.global=100\nows.wms.getmap = 10\nows.wfs.getfeature.application/msexcel: 4\nuser=6\nuser.ows.wms.getmap=30/s\n\
        ip.10.0.0.1=30\nip.blacklist=10.0.0.9, \\\n  10.1.*\nows.gwc=8\nows.priority.http=ctrl-flow-priority,0\n# timeout=60\n\
        timeout=120\nuser=10\nows.wms.getmaps=3\nsome.other=\"x\"\n";

    #[test]
    fn every_rule_is_taken_over_or_stays_as_a_comment_with_the_reason() {
        insta::assert_snapshot!(limits(&properties(FILE)), @r#"
        [limits]
        queue_timeout = "120s"
        control_flow = [
            "ows.global=100",
            "ows.wms.getmap=10",
            "ows.wfs.getfeature.application/msexcel=4",
            # left out, because it is given again below: user=6
            "user.ows.wms.getmap=30/s",
            "ip.10.0.0.1=30",
            "ip.blacklist=10.0.0.9, 10.1.*",
            "ows.gwc=8",
            "ows.priority.http=ctrl-flow-priority,0",
            "user=10",
            # left out: ows.wms.getmaps=3
            # `ows.wms.getmaps`: its service has no operation `getmaps`
            # left out: some.other="x"
            # unknown rule `some.other`: rules begin with `ows.`, `user`, `ip` or `timeout`
        ]
        "#);
    }

    #[test]
    fn the_output_is_a_valid_configuration() {
        let cluster = "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://10.0.0.2'\n";
        let text = format!("{cluster}{HEAD}{}", limits(&properties(FILE)));
        let loaded = Config::load(
            Path::new("f"),
            &MapEnvironment::new().file("f", text.as_str()),
        );
        let limits = loaded
            .unwrap_or_else(|wrong| panic!("{text}\n{wrong}"))
            .config
            .limits;
        assert_eq!(
            (
                limits.control_flow.rules.len(),
                limits.queue_timeout.as_secs()
            ),
            (7, 120)
        );
    }

    #[test]
    fn other_files_are_not_taken_for_it() {
        for text in [
            "",
            "defaults\n  mode http\n",
            "server { listen 80; }",
            "defaults\n  timeout connect 5s\n  user haproxy\n",
            "a=b\n",
        ] {
            assert!(!is_control_flow(text), "{text}");
        }
    }
}
