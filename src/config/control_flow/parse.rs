//! Parses one line of `controlflow.properties` into one statement, or reports the problem.

use std::net::IpAddr;
use std::time::Duration;

use super::{AddressPattern, Addressed, CountedBy, Limit, Operations, PriorityHeader, Rate, Rule};
use crate::config::diagnostics::suggestion;
use crate::ogc::{self, Service};

/// Maximum number of requests at a time or in a window. A higher limit limits nothing.
const MAX: u32 = 1_000_000;
/// Maximum delay, and maximum time in the queue.
const MAX_SECONDS: u64 = 3600;
/// Maximum length of one list.
const MAX_ADDRESSES: usize = 1000;

/// The statement of one line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Rule(Rule),
    Blacklist(Vec<AddressPattern>),
    Whitelist(Vec<AddressPattern>),
    Priority(PriorityHeader),
    Timeout(Duration),
}

/// The reason why a line is refused: its content and the rule, and the remedy if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineProblem {
    pub(crate) title: String,
    pub(crate) hint: String,
}

impl LineProblem {
    fn new(title: String) -> Self {
        Self {
            title,
            hint: String::new(),
        }
    }
}

/// The services by their names in rules.
const SERVICES: [(&str, Addressed); 8] = [
    ("wms", Addressed::Service(Service::Wms)),
    ("wfs", Addressed::Service(Service::Wfs)),
    ("wcs", Addressed::Service(Service::Wcs)),
    ("wps", Addressed::Service(Service::Wps)),
    ("csw", Addressed::Service(Service::Csw)),
    ("wmts", Addressed::Service(Service::Wmts)),
    ("tms", Addressed::Service(Service::Tms)),
    ("gwc", Addressed::GeoWebCache),
];

/// The beginnings of all keys.
const FIRST_WORDS: [&str; 4] = ["ows", "user", "ip", "timeout"];

/// Reads `key=value`.
pub(crate) fn statement(line: &str) -> Result<Statement, LineProblem> {
    let line = line.trim();
    let Some((key, value)) = line.split_once('=') else {
        return Err(LineProblem::new(format!(
            "`{}`: must be a rule such as `ows.wms.getmap=16`",
            line.escape_debug()
        )));
    };
    let parts: Vec<String> = key
        .split('.')
        .map(|part| part.trim().to_ascii_lowercase())
        .collect();
    let key = Key {
        name: parts.join("."),
        parts: parts.iter().map(String::as_str).collect(),
    };
    key.statement(value.trim())
}

/// The part before the equals sign.
struct Key<'k> {
    name: String,
    parts: Vec<&'k str>,
}

impl Key<'_> {
    fn statement(&self, value: &str) -> Result<Statement, LineProblem> {
        match self.parts[..] {
            ["timeout"] => self.seconds(value).map(Statement::Timeout),
            ["ows", "global"] => self.concurrent(CountedBy::Everybody, Operations::ALL, value),
            ["ows", "priority", "http"] => self.priority(value),
            ["ows", ref what @ ..] if !what.is_empty() => {
                self.concurrent(CountedBy::Everybody, self.operations(what)?, value)
            }
            ["user"] => self.concurrent(CountedBy::User, Operations::ALL, value),
            ["user", "ows", ref what @ ..] => {
                self.rate(CountedBy::User, self.operations(what)?, value)
            }
            ["ip"] => self.concurrent(CountedBy::Address, Operations::ALL, value),
            ["ip", "ows", ref what @ ..] => {
                self.rate(CountedBy::Address, self.operations(what)?, value)
            }
            ["ip", "blacklist"] => self.addresses(value).map(Statement::Blacklist),
            ["ip", "whitelist"] => self.addresses(value).map(Statement::Whitelist),
            ["ip", ref address @ ..] => {
                self.concurrent(self.one_address(address)?, Operations::ALL, value)
            }
            _ => Err(self.unknown()),
        }
    }

    fn unknown(&self) -> LineProblem {
        let title = format!(
            "unknown rule `{}`: rules begin with `ows.`, `user`, `ip` or `timeout`",
            self.name.escape_debug()
        );
        LineProblem {
            title,
            hint: suggestion(self.parts[0], FIRST_WORDS),
        }
    }

    fn wrong(&self, value: &str, rule: &str) -> LineProblem {
        LineProblem::new(format!(
            "`{}` is \"{}\": must be {rule}",
            self.name.escape_debug(),
            value.escape_debug()
        ))
    }

    fn concurrent(
        &self,
        whose: CountedBy,
        what: Operations,
        value: &str,
    ) -> Result<Statement, LineProblem> {
        let most = value.parse().ok().filter(|most| (1..=MAX).contains(most));
        let most =
            most.ok_or_else(|| self.wrong(value, &format!("how many at a time, 1 to {MAX}")))?;
        Ok(Statement::Rule(Rule::new(
            self.name.clone(),
            whose,
            what,
            Limit::Concurrent(most),
        )))
    }

    fn rate(
        &self,
        whose: CountedBy,
        what: Operations,
        value: &str,
    ) -> Result<Statement, LineProblem> {
        let rate = rate(value).ok_or_else(|| {
            self.wrong(value, "a rate such as `30/s`, per s, m, h or d, and where wanted a delay in seconds: `30/s;2s`")
        })?;
        Ok(Statement::Rule(Rule::new(
            self.name.clone(),
            whose,
            what,
            Limit::Rate(rate),
        )))
    }

    fn seconds(&self, value: &str) -> Result<Duration, LineProblem> {
        let seconds = value
            .parse()
            .ok()
            .filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
        let rule = format!("seconds, 1 to {MAX_SECONDS}");
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| self.wrong(value, &rule))
    }

    fn priority(&self, value: &str) -> Result<Statement, LineProblem> {
        let read = |(header, default): (&str, &str)| {
            let header = header.trim().to_ascii_lowercase();
            let is_name = !header.is_empty()
                && header
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            let default = default.trim().parse().ok().filter(|_| is_name)?;
            Some(Statement::Priority(PriorityHeader { header, default }))
        };
        let rule = "the name of a header and a whole number, such as `ctrl-flow-priority,0`";
        value
            .split_once(',')
            .and_then(read)
            .ok_or_else(|| self.wrong(value, rule))
    }

    /// Parses `wms`, `wms.getmap` or `wms.getmap.image/png`. Service and operation must exist.
    fn operations(&self, what: &[&str]) -> Result<Operations, LineProblem> {
        let [service, rest @ ..] = what else {
            return Ok(Operations::ALL);
        };
        let Some((_, addressed)) = SERVICES.into_iter().find(|(name, _)| name == service) else {
            let names = SERVICES.map(|(name, _)| name);
            let title = format!(
                "`{}` is for service `{}`: must be one of {}",
                self.name.escape_debug(),
                service.escape_debug(),
                names.join(", ")
            );
            return Err(LineProblem {
                title,
                hint: suggestion(service, names),
            });
        };
        let [operation, format @ ..] = rest else {
            return Ok(Operations {
                service: Some(addressed),
                ..Operations::ALL
            });
        };
        let operation = Some(self.operation(addressed, operation)?);
        let format = (!format.is_empty()).then(|| format.join("."));
        Ok(Operations {
            service: Some(addressed),
            operation,
            format,
        })
    }

    fn operation(&self, addressed: Addressed, name: &str) -> Result<&'static str, LineProblem> {
        let known: Vec<&'static str> = match addressed {
            Addressed::Service(service) => ogc::operations(service).collect(),
            Addressed::GeoWebCache => Vec::new(),
        };
        known
            .iter()
            .copied()
            .find(|known| known.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let title = format!(
                    "`{}`: its service has no operation `{}`",
                    self.name.escape_debug(),
                    name.escape_debug()
                );
                LineProblem {
                    title,
                    hint: suggestion(name, known),
                }
            })
    }

    fn one_address(&self, parts: &[&str]) -> Result<CountedBy, LineProblem> {
        let address = parts.join(".").parse::<IpAddr>();
        let rule = "such as `ip=10`, `ip.10.0.0.9=4`, `ip.ows=600/m`, `ip.blacklist=10.0.0.9`";
        let wrong = |_| {
            LineProblem::new(format!(
                "unknown rule `{}`: rules for addresses are {rule}",
                self.name.escape_debug()
            ))
        };
        address
            .map(|address| CountedBy::OneAddress(address.to_canonical()))
            .map_err(wrong)
    }

    fn addresses(&self, value: &str) -> Result<Vec<AddressPattern>, LineProblem> {
        let items: Vec<&str> = value.split(',').map(str::trim).collect();
        if items.len() > MAX_ADDRESSES {
            return Err(LineProblem::new(format!(
                "`{}` has more than {MAX_ADDRESSES} addresses",
                self.name
            )));
        }
        let rule = "addresses, networks, or addresses with `*` in them, with commas between";
        items
            .into_iter()
            .map(|item| pattern(item).ok_or_else(|| self.wrong(item, rule)))
            .collect()
    }
}

/// Parses `30/s` or `30/s;2s`.
fn rate(value: &str) -> Option<Rate> {
    let (rate, delay) = match value.split_once(';') {
        Some((rate, delay)) => (rate.trim(), Some(delay.trim().strip_suffix('s')?)),
        None => (value, None),
    };
    let (most, unit) = rate.split_once('/')?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let most = most.parse().ok().filter(|most| (1..=MAX).contains(most))?;
    let delay = match delay {
        Some(delay) => Some(delay.parse().ok().filter(|delay| *delay <= MAX_SECONDS)?),
        None => None,
    };
    // Without a delay GeoServer refuses the request, and so does geofront.
    let delay = delay.filter(|delay| *delay > 0).map(Duration::from_secs);
    Some(Rate {
        most,
        window: Duration::from_secs(seconds),
        delay,
    })
}

fn pattern(item: &str) -> Option<AddressPattern> {
    if let Some(net) = item.parse().ok().or_else(|| {
        item.parse::<IpAddr>()
            .ok()
            .map(|address| address.to_canonical().into())
    }) {
        return Some(AddressPattern::Net(net));
    }
    let is_glob = item.contains('*') && item.len() <= 64;
    let may_be_address = item
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || b".:*".contains(&byte));
    (is_glob && may_be_address).then(|| AddressPattern::Glob(item.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(line: &str) -> Rule {
        match statement(line) {
            Ok(Statement::Rule(rule)) => rule,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refusal(line: &str) -> String {
        let LineProblem { title, hint } = statement(line).expect_err(line);
        format!("{title} {hint}").trim_end().to_owned()
    }

    #[test]
    fn geoserver_s_own_examples_are_understood() {
        assert_eq!(rule("ows.global=100").limit, Limit::Concurrent(100));
        assert_eq!(rule(" ows.wms.getmap = 10 ").key, "ows.wms.getmap");
        assert_eq!(
            rule("ows.wfs.getfeature.application/msexcel=4")
                .what
                .format
                .as_deref(),
            Some("application/msexcel")
        );
        assert_eq!(
            (rule("user=6").whose, rule("ip=6").whose),
            (CountedBy::User, CountedBy::Address)
        );
        assert_eq!(
            rule("ip.10.0.0.1=30").whose,
            CountedBy::OneAddress("10.0.0.1".parse().unwrap())
        );
        assert_eq!(
            statement("timeout=60"),
            Ok(Statement::Timeout(Duration::from_secs(60)))
        );
        assert!(statement("ip.blacklist=192.168.0.7,192.168.1.*").is_ok());
        let header = PriorityHeader {
            header: "gs-priority".to_owned(),
            default: 3,
        };
        assert_eq!(
            statement("ows.priority.http=gs-priority, 3"),
            Ok(Statement::Priority(header))
        );
    }

    #[test]
    fn rates_have_a_unit_and_where_wanted_a_delay() {
        let rate = |line| match rule(line).limit {
            Limit::Rate(Rate {
                most,
                window,
                delay,
            }) => (most, window.as_secs(), delay.map(|delay| delay.as_secs())),
            Limit::Concurrent(_) => panic!("{line} is a rate"),
        };
        assert_eq!(rate("user.ows.wms.getmap=30/s"), (30, 1, None));
        assert_eq!(rate("ip.ows=1000/h;5s"), (1000, 3600, Some(5)));
        assert_eq!(rate("user.ows.wfs=10/m;0s"), (10, 60, None));
        assert_eq!(rate("ip.ows.wms=100000/d").1, 86_400);
    }

    #[test]
    fn mistakes_are_reported_with_key_value_and_rule() {
        let refusals = [
            ("", "``: must be a rule such as `ows.wms.getmap=16`"),
            (
                "ows.wms.getmap=many",
                "`ows.wms.getmap` is \"many\": must be how many at a time, 1 to 1000000",
            ),
            (
                "user=0",
                "`user` is \"0\": must be how many at a time, 1 to 1000000",
            ),
            (
                "ows.wns.getmap=1",
                "`ows.wns.getmap` is for service `wns`: must be one of wms, wfs, wcs, wps, csw, wmts, tms, gwc \
                did you mean `wms`?",
            ),
            (
                "ows.wms.getmapp=1",
                "`ows.wms.getmapp`: its service has no operation `getmapp` did you mean `GetMap`?",
            ),
            (
                "usr=1",
                "unknown rule `usr`: rules begin with `ows.`, `user`, `ip` or `timeout` did you mean `user`?",
            ),
            (
                "ip.somewhere=1",
                "unknown rule `ip.somewhere`: rules for addresses are such as `ip=10`, `ip.10.0.0.9=4`, \
                `ip.ows=600/m`, `ip.blacklist=10.0.0.9`",
            ),
            (
                "ip.blacklist=10.0.0.9,here",
                "`ip.blacklist` is \"here\": must be addresses, networks, or addresses with `*` in them, \
                with commas between",
            ),
            (
                "timeout=0",
                "`timeout` is \"0\": must be seconds, 1 to 3600",
            ),
            (
                "ows.priority.http=x",
                "`ows.priority.http` is \"x\": must be the name of a header and a whole number, such as \
                `ctrl-flow-priority,0`",
            ),
        ];
        for (line, told) in refusals {
            assert_eq!(refusal(line), told);
        }
        for line in [
            "user.ows=30",
            "user.ows=30/w",
            "ip.ows=0/s",
            "user.ows=3/s;2",
            "user.ows=3/s;9999s",
            "ows=1",
            "user.wms=1",
        ] {
            assert!(statement(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_repeated_key_is_reported() {
        let mut rules = super::super::ControlFlow::default();
        assert_eq!(rules.add(statement("user=1").unwrap()), Ok(()));
        assert_eq!(
            rules.add(statement("USER=2").unwrap()),
            Err("it is there twice".to_owned())
        );
        assert_eq!(rules.add(statement("ip.blacklist=*").unwrap()), Ok(()));
        assert!(rules.add(statement("ip.blacklist=10.*").unwrap()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_statement_or_refused(line in "(ows|user|ip|timeout)?[.a-z0-9=/;,*: \u{e9}]{0,40}") {
            if let Err(wrong) = statement(&line) {
                assert!(!wrong.title.is_empty());
            }
        }
    }
}
