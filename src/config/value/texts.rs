//! The types that are written as text in quotes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::FromText;
use super::show::Show;
use crate::config::diagnostics::suggestion;
use crate::config::units::{Size, parse_duration, parse_size};
use crate::config::{
    AccessLogDestination, AcmeChallenge, ClientCertificate, Coding, CorsHeader, CorsMethod,
    HeaderField, ListenAddress, LogFormat, LogLevel, MainReads, OriginPattern, Role, SocketMode,
    StalePolicy, TileCaches,
};
use crate::ogc::RequestClass;

impl FromText for String {
    const RULE: &'static str = "text in quotes";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// The hint for a text that is a number without a unit.
fn unit_missing<T: FromText>(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(_) => T::on_number(text),
        Err(_) => String::new(),
    }
}

impl FromText for Duration {
    const RULE: &'static str =
        "a duration with its unit, such as \"500ms\", \"5s\", \"2m\" or \"1h30m\"";

    fn from_text(text: &str) -> Option<Self> {
        parse_duration(text)
    }

    fn hint(text: &str) -> String {
        unit_missing::<Self>(text)
    }

    fn on_number(number: &str) -> String {
        format!("a number without a unit: \"{number}s\" or \"{number}ms\"?")
    }
}

impl FromText for Size {
    const RULE: &'static str = "a size with its unit, such as \"16MB\" or \"1GiB\"";

    fn from_text(text: &str) -> Option<Self> {
        parse_size(text)
    }

    fn hint(text: &str) -> String {
        unit_missing::<Self>(text)
    }

    fn on_number(number: &str) -> String {
        format!("a number without a unit: \"{number}B\" or \"{number}MB\"?")
    }
}

impl FromText for SocketAddr {
    const RULE: &'static str =
        "an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn hint(text: &str) -> String {
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        match (host, port.parse::<u16>()) {
            ("" | "*", Ok(_)) => Self::on_number(port),
            ("localhost", Ok(port)) => format!("did you mean \"127.0.0.1:{port}\"?"),
            _ if ListenAddress::from_text(text).is_some() => {
                "a unix socket is the `address` of a table [listeners.NAME]".to_owned()
            }
            _ => String::new(),
        }
    }

    fn on_number(number: &str) -> String {
        format!("did you mean \"0.0.0.0:{number}\"?")
    }
}

impl FromText for ListenAddress {
    const RULE: &'static str = "an IP address and a port, such as \"0.0.0.0:8080\", or a unix socket, such as \
         \"unix:/run/geofront/http.sock\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::from_text(text)
    }

    fn hint(text: &str) -> String {
        let hint = Self::hint(text);
        if hint.is_empty() {
            SocketAddr::hint(text)
        } else {
            hint
        }
    }

    fn on_number(number: &str) -> String {
        SocketAddr::on_number(number)
    }
}

impl FromText for SocketMode {
    const RULE: &'static str = "permissions of a file as octal digits in quotes, such as \"0660\", that let a process \
         write";

    fn from_text(text: &str) -> Option<Self> {
        Self::from_text(text)
    }

    fn on_number(_: &str) -> String {
        "put it in quotes: \"0660\"".to_owned()
    }
}

impl FromText for IpNet {
    const RULE: &'static str =
        "an IP address or a network, such as \"10.0.0.5\" or \"10.0.0.0/24\"";

    fn from_text(text: &str) -> Option<Self> {
        let net: Self = text
            .parse()
            .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
            .ok()?;
        // In "10.0.0.5/24" either the host or the length of the prefix is a mistake. geofront does
        // not guess which addresses were meant.
        (net.addr() == net.network()).then_some(net)
    }

    fn hint(text: &str) -> String {
        text.parse::<Self>().map_or_else(
            |_| String::new(),
            |net| {
                format!(
                    "one address is \"{}\", its network is \"{}\"",
                    net.addr(),
                    net.trunc()
                )
            },
        )
    }
}

impl FromText for HeaderField {
    const RULE: &'static str =
        "the name of a header that identifies a user, such as \"X-Remote-User\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl FromText for OriginPattern {
    const RULE: &'static str = "\"*\", or an origin as browsers send it, such as \"https://viewer.example.org\" or \
         \"https://*.example.org\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }

    fn hint(text: &str) -> String {
        let bare = text.trim_end_matches('/');
        [bare.to_owned(), format!("https://{bare}")]
            .into_iter()
            .find(|corrected| bare.contains(['.', ':']) && Self::new(corrected).is_some())
            .map_or_else(String::new, |corrected| {
                format!("did you mean \"{corrected}\"?")
            })
    }
}

impl FromText for CorsMethod {
    const RULE: &'static str =
        "a method that pages may use, such as \"POST\", and not CONNECT or TRACE";

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl FromText for CorsHeader {
    const RULE: &'static str = "the name of a header, or \"*\" for every header";

    fn from_text(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

impl FromText for Coding {
    const RULE: &'static str = "\"gzip\" or \"zstd\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| coding.as_str() == text)
    }

    fn hint(text: &str) -> String {
        suggestion(text, Self::ALL.map(Self::as_str))
    }
}

impl FromText for RequestClass {
    const RULE: &'static str = "a class of requests, such as \"capabilities\"";

    fn from_text(text: &str) -> Option<Self> {
        Self::from_name(text)
    }

    fn hint(text: &str) -> String {
        suggestion(text, Self::ALL.map(Self::as_str))
    }
}

impl FromText for AccessLogDestination {
    const RULE: &'static str = "\"stdout\", \"off\" or the whole path of a file";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "stdout" => Some(Self::Stdout),
            "off" => Some(Self::Off),
            path => Path::new(path)
                .is_absolute()
                .then(|| Self::File(path.into())),
        }
    }

    fn hint(text: &str) -> String {
        suggestion(text, ["stdout", "off"])
    }
}

/// Reads an enum from the words that stand for it in the file.
macro_rules! words {
    (
        $type:ident, $rule:literal, $($word:literal => $variant:ident),+
        $(; $($other:literal is $meant:literal),+)?
    ) => {
        impl FromText for $type {
            const RULE: &'static str = $rule;

            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn hint(text: &str) -> String {
                $($(if text == $other {
                    return format!("here it is called `{}`", $meant);
                })+)?
                suggestion(text, [$($word),+])
            }
        }

        impl Show for $type {
            fn show(&self) -> String {
                match self {
                    $(Self::$variant => $word.to_owned(),)+
                }
            }
        }
    };
}

words!(
    Role, "\"main\" or \"replica\"", "main" => Main, "replica" => Replica;
    "slave" is "replica", "master" is "main"
);
words!(ClientCertificate, "\"required\" or \"optional\"", "required" => Required, "optional" => Optional);
words!(AcmeChallenge, "\"http-01\" or \"tls-alpn-01\"", "http-01" => Http01, "tls-alpn-01" => TlsAlpn01);
words!(MainReads, "\"backup\", \"always\" or \"never\"", "backup" => Backup, "always" => Always, "never" => Never);
words!(TileCaches, "\"shared\" or \"own\"", "shared" => Shared, "own" => Own);
words!(StalePolicy, "\"serve\" or \"avoid\"", "serve" => Serve, "avoid" => Avoid);
words!(LogFormat, "\"logfmt\" or \"json\"", "logfmt" => Logfmt, "json" => Json);
words!(LogLevel, "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    "error" => Error, "warn" => Warn, "info" => Info, "debug" => Debug, "trace" => Trace);
