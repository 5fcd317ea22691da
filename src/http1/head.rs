//! Reads a request's head as its bytes arrive.

use super::body::Framing;
use super::host::Authority;
use super::sets::{self, TARGET, TOKEN, VALUE};
use super::target::TargetForm;
use super::{ByteRange, Fault};

/// Maximum length of a method, longer than every registered one.
const MAX_METHOD: usize = 32;

/// Maximum length of a target as text. Longer ones do not fit the proxy's type, in which each
/// sequence of bytes that is not UTF-8 takes [`REPLACED`] bytes.
const MAX_TARGET: usize = 65_000;
/// The length of U+FFFD.
const REPLACED: usize = 3;

/// Maximum length of a body. Longer ones overflow the counters of some servers.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// The line break before a request line that RFC 9112 section 2.2 ignores.
const LINE_BREAK: usize = 2;

/// The limits on a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, including its empty line.
    pub max_bytes: usize,
    /// Header fields.
    pub max_fields: usize,
}

/// The supported versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// The relevant options of `Connection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
}

/// A head that every server reads in the same way. Spans are ranges of the bytes that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The whole head, from the method to the empty line.
    pub whole: ByteRange,
    /// The method, a token.
    pub method: ByteRange,
    /// The target as it arrived.
    pub target: ByteRange,
    /// The target's form.
    pub form: TargetForm,
    /// The request's version.
    pub version: Version,
    /// The value of `Host`.
    pub host: Option<ByteRange>,
    /// How the body is delimited.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The options in `Connection`.
    pub connection: Connection,
    /// The request has an `Upgrade` field.
    pub has_upgrade: bool,
}

/// The result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadProgress {
    /// The head is not complete.
    More,
    /// The head is complete and well formed.
    Complete(Head),
    /// The head breaks a rule. Nothing after it can be trusted.
    Refused(Fault),
}

/// The position of the reader.
#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Begin,
    Method,
    Target,
    Version,
    FieldStart,
    Name(usize),
    /// Behind the colon of the field with this name.
    Value(ByteRange),
    End,
}

/// Reads one head. Each byte is inspected once, even if it arrives in many pieces.
#[derive(Clone, Debug, Default)]
pub struct HeadReader {
    part: Part,
    /// Index of the next byte to inspect.
    at: usize,
    head: Head,
    fields: usize,
    length: Option<u64>,
    is_chunked: bool,
}

/// A step of the reader: to the next part, or a request for more bytes.
type Step = Result<Option<Part>, Fault>;

impl HeadReader {
    /// Continues with `bytes`, which are those of the last call and more.
    pub fn read(&mut self, bytes: &[u8], limits: &HeadLimits) -> HeadProgress {
        let length = match self.advance(bytes, limits) {
            Err(fault) => return HeadProgress::Refused(fault),
            Ok(true) => self.head.whole.end - self.head.whole.start,
            Ok(false) => bytes.len() - self.head.whole.start,
        };
        match self.part {
            _ if length <= limits.max_bytes => {}
            Part::Begin | Part::Method | Part::Target => {
                return HeadProgress::Refused(Fault::TargetTooLong);
            }
            _ => return HeadProgress::Refused(Fault::HeadTooLarge),
        }
        if self.head.whole.end > 0 {
            HeadProgress::Complete(self.head)
        } else {
            HeadProgress::More
        }
    }

    /// Method and target as far as they can be separated, for a report about a refused head.
    pub fn request_line<'b>(&self, bytes: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        let method = self.head.method;
        if method.end == 0 {
            return (&[], &[]);
        }
        let rest = &bytes[method.end + 1..];
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
        (method.of(bytes), &rest[..end.unwrap_or(rest.len())])
    }

    /// Reads as many bytes as there are; true at the end of the head.
    fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<bool, Fault> {
        while self.head.whole.end == 0 {
            let next = match self.part {
                Part::Begin => self.begin(bytes),
                Part::Method => self.method(bytes),
                Part::Target => self.target(bytes),
                Part::Version => self.version(bytes),
                Part::FieldStart => self.field_start(bytes),
                Part::Name(start) => self.name(bytes, start, limits),
                Part::Value(name) => self.value(bytes, name),
                Part::End => self.end(bytes),
            };
            match next? {
                Some(part) => self.part = part,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Skips one line break, which some clients send after a body.
    fn begin(&mut self, bytes: &[u8]) -> Step {
        match bytes {
            [] | b"\r" => return Ok(None),
            [b'\r', b'\n', ..] => self.at = LINE_BREAK,
            [_, ..] => {}
        }
        self.head.whole.start = self.at;
        Ok(Some(Part::Method))
    }

    fn method(&mut self, bytes: &[u8]) -> Step {
        let start = self.head.whole.start;
        self.at = sets::skip(bytes, self.at, TOKEN);
        if self.at - start > MAX_METHOD {
            return Err(Fault::Method);
        }
        match bytes.get(self.at) {
            None => Ok(None),
            Some(b' ') if self.at > start => {
                self.head.method = ByteRange {
                    start,
                    end: self.at,
                };
                self.at += 1;
                Ok(Some(Part::Target))
            }
            Some(_) => Err(Fault::RequestLine),
        }
    }

    fn target(&mut self, bytes: &[u8]) -> Step {
        let start = self.head.method.end + 1;
        self.at = sets::skip(bytes, self.at, TARGET);
        match bytes.get(self.at) {
            None => return Ok(None),
            Some(b' ') if self.at > start => {}
            Some(b' ' | b'\r' | b'\n') => return Err(Fault::RequestLine),
            Some(_) => return Err(Fault::TargetByte),
        }
        if length_as_text(&bytes[start..self.at]) > MAX_TARGET {
            return Err(Fault::TargetTooLong);
        }
        self.head.target = ByteRange {
            start,
            end: self.at,
        };
        self.at += 1;
        let method = self.head.method.of(bytes);
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Fault::MethodRefused);
        }
        self.head.form = TargetForm::of(method, bytes, self.head.target).ok_or(Fault::Target)?;
        Ok(Some(Part::Version))
    }

    fn version(&mut self, bytes: &[u8]) -> Step {
        const LINE: &[u8] = b"HTTP/d.d\r\n";
        let rest = &bytes[self.at..];
        let fits = |(wanted, byte): (&u8, &u8)| {
            if *wanted == b'd' {
                byte.is_ascii_digit()
            } else {
                wanted == byte
            }
        };
        if let Some(wrong) = LINE.iter().zip(rest).position(|pair| !fits(pair)) {
            let is_line_end = rest[wrong] == b'\n' || wrong + 1 == LINE.len();
            return Err(if is_line_end {
                Fault::LineEnd
            } else {
                Fault::RequestLine
            });
        }
        let Some(line) = rest.get(..LINE.len()) else {
            return Ok(None);
        };
        self.head.version = match (line[5], line[7]) {
            (b'1', b'1') => Version::Http11,
            (b'1', b'0') => Version::Http10,
            _ => return Err(Fault::Version),
        };
        self.at += LINE.len();
        Ok(Some(Part::FieldStart))
    }

    fn field_start(&self, bytes: &[u8]) -> Step {
        match bytes.get(self.at) {
            None => Ok(None),
            Some(b'\r') => Ok(Some(Part::End)),
            Some(b'\n') => Err(Fault::LineEnd),
            Some(b' ' | b'\t') => Err(Fault::FoldedField),
            Some(_) => Ok(Some(Part::Name(self.at))),
        }
    }

    fn name(&mut self, bytes: &[u8], start: usize, limits: &HeadLimits) -> Step {
        self.at = sets::skip(bytes, self.at, TOKEN);
        match bytes.get(self.at) {
            None => return Ok(None),
            Some(b':') if self.at > start => {}
            Some(_) => return Err(Fault::FieldName),
        }
        self.fields += 1;
        if self.fields > limits.max_fields {
            return Err(Fault::TooManyFields);
        }
        let name = ByteRange {
            start,
            end: self.at,
        };
        self.at += 1;
        Ok(Some(Part::Value(name)))
    }

    fn value(&mut self, bytes: &[u8], name: ByteRange) -> Step {
        self.at = sets::skip(bytes, self.at, VALUE);
        match bytes[self.at..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => {}
            [b'\r' | b'\n', ..] => return Err(Fault::LineEnd),
            [_, ..] => return Err(Fault::FieldValue),
        }
        let value = trimmed(
            bytes,
            ByteRange {
                start: name.end + 1,
                end: self.at,
            },
        );
        self.at += LINE_BREAK;
        self.field(name.of(bytes), value, bytes)?;
        Ok(Some(Part::FieldStart))
    }

    fn end(&mut self, bytes: &[u8]) -> Step {
        match bytes.get(self.at + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(Fault::LineEnd),
        }
        self.at += LINE_BREAK;
        self.conclude(bytes)?;
        self.head.whole.end = self.at;
        Ok(Some(Part::End))
    }

    /// Records the content of a field that matters here.
    #[inline]
    fn field(&mut self, name: &[u8], value: ByteRange, bytes: &[u8]) -> Result<(), Fault> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        let text = value.of(bytes);
        match name.len() {
            4 if is(b"host") => return self.host(value, bytes),
            6 if is(b"expect") => {
                self.head.expects_continue = text.eq_ignore_ascii_case(b"100-continue")
            }
            7 if is(b"upgrade") => self.head.has_upgrade = true,
            10 if is(b"connection") => return self.connection(text),
            14 if is(b"content-length") => return self.content_length(text),
            17 if is(b"transfer-encoding") => {
                if self.is_chunked || !text.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::TransferEncoding);
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn host(&mut self, value: ByteRange, bytes: &[u8]) -> Result<(), Fault> {
        if self.head.host.is_some() {
            return Err(Fault::HostRepeated);
        }
        Authority::parse(value.of(bytes)).ok_or(Fault::HostInvalid)?;
        self.head.host = Some(value);
        Ok(())
    }

    fn connection(&mut self, list: &[u8]) -> Result<(), Fault> {
        for option in list
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|option| !option.is_empty())
        {
            if !sets::is_all(option, TOKEN) {
                return Err(Fault::FieldValue);
            }
            let connection = &mut self.head.connection;
            connection.close |= option.eq_ignore_ascii_case(b"close");
            connection.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            connection.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
        Ok(())
    }

    /// Accepts exactly one number: lists and repetitions are refused even if their values are
    /// equal.
    fn content_length(&mut self, text: &[u8]) -> Result<(), Fault> {
        let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let length = if is_number {
            std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok())
        } else {
            None
        };
        let length = length
            .filter(|length| *length <= MAX_LENGTH)
            .ok_or(Fault::ContentLength)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Fault::ContentLength),
        }
    }

    /// Checks the rules that concern more than one field.
    fn conclude(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let head = &mut self.head;
        match (head.version, head.host) {
            (Version::Http11, None) => return Err(Fault::HostMissing),
            (Version::Http10, _) if self.is_chunked => return Err(Fault::TransferEncoding),
            (Version::Http10 | Version::Http11, _) => {}
        }
        if let (
            TargetForm::Absolute {
                authority,
                default_port,
                ..
            },
            Some(host),
        ) = (head.form, head.host)
        {
            let parse = |span: ByteRange| Authority::parse(span.of(bytes));
            let agrees = parse(authority)
                .zip(parse(host))
                .is_some_and(|(target, host)| target.agrees(host, default_port));
            if !agrees {
                return Err(Fault::HostDisagrees);
            }
        }
        // HTTP/1.0 has no expectations (RFC 9110 section 10.1.1).
        head.expects_continue &= head.version == Version::Http11;
        head.framing = match (self.is_chunked, self.length) {
            (true, Some(_)) => return Err(Fault::LengthAndChunks),
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Length(0),
        };
        Ok(())
    }
}

/// The length of `target` after everything that is not UTF-8 is replaced, or a lower bound of it;
/// exact near the limit.
fn length_as_text(target: &[u8]) -> usize {
    if target.len() <= MAX_TARGET / REPLACED {
        return target.len();
    }
    let length = |chunk: std::str::Utf8Chunk<'_>| {
        chunk.valid().len()
            + if chunk.invalid().is_empty() {
                0
            } else {
                REPLACED
            }
    };
    target.utf8_chunks().map(length).sum()
}

/// The span without surrounding white space (RFC 9112 section 5.1).
fn trimmed(bytes: &[u8], mut span: ByteRange) -> ByteRange {
    let is_space = |byte: u8| byte == b' ' || byte == b'\t';
    while span.start < span.end && is_space(bytes[span.start]) {
        span.start += 1;
    }
    while span.start < span.end && is_space(bytes[span.end - 1]) {
        span.end -= 1;
    }
    span
}
