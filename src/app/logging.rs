//! The log on stderr: logfmt or JSON, one line per event.
//!
//! Pingora's own lines about failed requests are left out: access lines contain the same and more,
//! and a client that sends nonsense must not fill the log. So is a line of its connection pool that
//! reports no fault.

use std::fmt::{self, Debug};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::log::{self as facade, Record};
use tracing_log::{LogTracer, NormalizeEvent};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{self as output, FmtContext, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// Changes the log level while the process runs.
pub(super) struct LogLevelSwitch(reload::Handle<LevelFilter, Registry>);

impl LogLevelSwitch {
    pub(super) fn set(&self, level: LogLevel) {
        if self.0.reload(filter(level)).is_err() {
            tracing::debug!("the log has ended");
        }
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts logging for the process. A second call does nothing.
pub(super) fn init(log: &Log) -> LogLevelSwitch {
    let (level, switch) = reload::Layer::new(filter(log.level));
    let bridge = facade::set_boxed_logger(Box::new(PingoraLog(LogTracer::new())));
    facade::set_max_level(facade::LevelFilter::Warn);
    let layer = output::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let subscriber = tracing_subscriber::registry().with(level);
    let started = match log.format {
        LogFormat::Logfmt => subscriber.with(layer.event_format(Logfmt)).try_init(),
        LogFormat::Json => subscriber
            .with(layer.json().flatten_event(true).with_current_span(false))
            .try_init(),
    };
    if bridge.is_err() || started.is_err() {
        tracing::debug!("logging was started before");
    }
    LogLevelSwitch(switch)
}

/// Pingora's message when a connection is taken from its pool before the task that watched the idle
/// connection has let go of it. A new connection is opened instead, so nothing fails. With two
/// threads and one request at a time, it happened to every fourth request.
const LOST_RACE: &str = "failed to acquire reusable stream";

/// Passes lines of Pingora on, except those that no operator should read.
struct PingoraLog(LogTracer);

impl facade::Log for PingoraLog {
    fn enabled(&self, metadata: &facade::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !is_noise(record) {
            self.0.log(record);
        }
    }

    fn flush(&self) {}
}

fn is_noise(record: &Record<'_>) -> bool {
    record.target().starts_with("pingora_proxy") || record.args().as_str() == Some(LOST_RACE)
}

/// `time=... level=info msg="..." key=value`.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let normalized = event.normalized_metadata();
        let level = match *normalized
            .as_ref()
            .unwrap_or_else(|| event.metadata())
            .level()
        {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(
            out,
            "time={} level={level}",
            humantime::format_rfc3339_millis(SystemTime::now())
        )?;
        let mut fields = Fields {
            out,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        write_spans(ctx, &mut fields.out)?;
        writeln!(fields.out)
    }
}

/// Writes the fields of the spans around an event: the name of a cluster, of several.
fn write_spans<S, N>(ctx: &FmtContext<'_, S, N>, out: &mut Writer<'_>) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    for span in ctx.event_scope().into_iter().flatten() {
        if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
            && !fields.is_empty()
        {
            write!(out, " {}", fields.fields)?;
        }
    }
    Ok(())
}

struct Fields<'a> {
    out: Writer<'a>,
    result: fmt::Result,
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = match field.name() {
            "message" => "msg",
            // Fields that the bridge from the `log` crate adds.
            name if name.starts_with("log.") => return,
            name => name,
        };
        if self.result.is_ok() {
            self.result = write_field(&mut self.out, name, &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Writes a field, quoted if a reader could take the value for more than one, by accident or
/// forgery.
fn write_field(out: &mut Writer<'_>, name: &str, value: &str) -> fmt::Result {
    let is_plain = !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=' && b != b'\\');
    if is_plain {
        write!(out, " {name}={value}")
    } else {
        write!(out, " {name}={value:?}")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log output of `work`, without times.
    fn logged(work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = output::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Logfmt);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        text.split_once(' ')
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn fields_are_fields_and_those_without_a_value_are_left_out() {
        let line = logged(|| {
            tracing::info!(
                upstream = Some("slave2"),
                health = None::<&str>,
                config_revision = Some(3_u64),
                "hello you"
            )
        });
        assert_eq!(
            line,
            "level=info msg=\"hello you\" upstream=slave2 config_revision=3\n"
        );
    }

    #[test]
    fn lines_within_the_span_of_a_cluster_name_it_once() {
        let line = logged(|| {
            let span = || tracing::error_span!("cluster", cluster = %"city");
            span().in_scope(|| tracing::warn!(upstream = "slave1", "gone"));
        });
        assert_eq!(line, "level=warn msg=gone upstream=slave1 cluster=city\n");
    }

    #[test]
    fn lines_of_pingora_that_no_operator_should_read_are_left_out() {
        let is_left_out = |target: &str, args: fmt::Arguments<'_>| {
            is_noise(&Record::builder().target(target).args(args).build())
        };
        let pool = "pingora_core::connectors";
        let other = "Unexpected data read in idle connection";
        assert!(is_left_out(
            "pingora_proxy::h1",
            format_args!("Fail to proxy")
        ));
        assert!(is_left_out(
            pool,
            format_args!("failed to acquire reusable stream")
        ));
        assert!(!is_left_out(pool, format_args!("{other}")));
    }

    #[test]
    fn text_of_an_upstream_cannot_forge_a_field_or_a_line() {
        let line = logged(|| tracing::warn!(cause = "no\" health=up\r\nupstream=main \\"));
        assert_eq!(
            line,
            "level=warn cause=\"no\\\" health=up\\r\\nupstream=main \\\\\"\n"
        );
    }
}
