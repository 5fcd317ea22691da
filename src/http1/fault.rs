//! The reasons for refusing a message: a status, a word for logs and metrics, and the broken rule.

use std::error::Error;
use std::fmt;

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request line is not three parts with one space between them.
    RequestLine,
    /// The method is longer than any that exists.
    Method,
    /// `CONNECT` would turn geofront into a tunnel; `TRACE` reveals the headers that proxies add.
    MethodRefused,
    /// The target is neither a path, nor an http URL, nor the `*` of `OPTIONS`.
    Target,
    /// A control character, `#`, `"`, `<`, `>` or a backtick in the target.
    TargetByte,
    /// A version that is neither 1.0 nor 1.1.
    Version,
    /// The request line alone is longer than a head may be.
    TargetTooLong,
    /// The head is longer than allowed.
    HeadTooLarge,
    /// The head has more fields than allowed.
    TooManyFields,
    /// A line that does not end in CR LF.
    LineEnd,
    /// A line that continues the one before it.
    FoldedField,
    /// A field without a name, or with white space in it.
    FieldName,
    /// A control character in a field's value, or a malformed list.
    FieldValue,
    /// HTTP/1.1 without a Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// A Host that is not a host name or address, with or without a port.
    HostInvalid,
    /// The Host differs from the target's host.
    HostDisagrees,
    /// A Content-Length that is not one number.
    ContentLength,
    /// A Transfer-Encoding other than `chunked`, or one in HTTP/1.0.
    TransferEncoding,
    /// Content-Length beside Transfer-Encoding.
    LengthAndChunks,
    /// `Connection` names a field that does not belong to the connection.
    Nomination,
    /// A chunk whose size, extension or end is malformed.
    Chunk,
    /// Trailers that are malformed or too many.
    Trailers,
    /// A request over HTTP/2 that has no form in HTTP/1.
    Http2Message,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 24] = [
        Self::RequestLine,
        Self::Method,
        Self::MethodRefused,
        Self::Target,
        Self::TargetByte,
        Self::Version,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::LineEnd,
        Self::FoldedField,
        Self::FieldName,
        Self::FieldValue,
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostInvalid,
        Self::HostDisagrees,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::LengthAndChunks,
        Self::Nomination,
        Self::Chunk,
        Self::Trailers,
        Self::Http2Message,
    ];

    /// The word that logs and metrics use.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RequestLine => "request-line",
            Self::Method => "method",
            Self::MethodRefused => "method-refused",
            Self::Target => "target",
            Self::TargetByte => "target-byte",
            Self::Version => "version",
            Self::TargetTooLong => "target-too-long",
            Self::HeadTooLarge => "head-too-large",
            Self::TooManyFields => "too-many-fields",
            Self::LineEnd => "line-end",
            Self::FoldedField => "folded-field",
            Self::FieldName => "field-name",
            Self::FieldValue => "field-value",
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::HostInvalid => "host-invalid",
            Self::HostDisagrees => "host-disagrees",
            Self::ContentLength => "content-length",
            Self::TransferEncoding => "transfer-encoding",
            Self::LengthAndChunks => "length-and-chunks",
            Self::Nomination => "nominated-field",
            Self::Chunk => "chunk",
            Self::Trailers => "trailers",
            Self::Http2Message => "http2-message",
        }
    }

    /// The status of the refusal.
    pub const fn status(self) -> u16 {
        match self {
            Self::MethodRefused => 405,
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyFields | Self::Trailers => 431,
            Self::Method | Self::TransferEncoding => 501,
            Self::Version => 505,
            Self::RequestLine | Self::Target | Self::TargetByte | Self::LineEnd => 400,
            Self::FoldedField | Self::FieldName | Self::FieldValue => 400,
            Self::HostMissing | Self::HostRepeated | Self::HostInvalid | Self::HostDisagrees => 400,
            Self::ContentLength | Self::LengthAndChunks | Self::Nomination | Self::Chunk => 400,
            Self::Http2Message => 400,
        }
    }

    /// The section that contains the rule.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::RequestLine => "RFC 9112 section 3",
            Self::Method => "RFC 9110 section 9.1",
            Self::MethodRefused => "RFC 9110 section 9.3",
            Self::Target | Self::HostMissing | Self::HostRepeated => "RFC 9112 section 3.2",
            Self::TargetByte => "RFC 3986 section 2",
            Self::Version => "RFC 9110 section 15.6.6",
            Self::TargetTooLong => "RFC 9110 section 15.5.15",
            Self::HeadTooLarge | Self::TooManyFields => "RFC 6585 section 5",
            Self::LineEnd => "RFC 9112 section 2.2",
            Self::FoldedField => "RFC 9112 section 5.2",
            Self::FieldName => "RFC 9112 section 5.1",
            Self::FieldValue => "RFC 9110 section 5.5",
            Self::HostInvalid => "RFC 9110 section 7.2",
            Self::HostDisagrees => "RFC 9112 section 3.2.2",
            Self::ContentLength => "RFC 9110 section 8.6",
            Self::TransferEncoding => "RFC 9112 section 6.1",
            Self::LengthAndChunks => "RFC 9112 section 6.3",
            Self::Nomination => "RFC 9110 section 7.6.1",
            Self::Chunk => "RFC 9112 section 7.1",
            Self::Trailers => "RFC 9112 section 7.1.2",
            Self::Http2Message => "RFC 9113 section 8.1.1",
        }
    }

    /// The message for the client.
    pub const fn message(self) -> &'static str {
        match self {
            Self::RequestLine => "The request line could not be understood.",
            Self::Method => "The method is not known.",
            Self::MethodRefused => "The method is not allowed.",
            Self::Target => "The address of the request could not be understood.",
            Self::TargetByte => "The address contains a character that has to be encoded.",
            Self::Version => "The version of the protocol is not supported.",
            Self::TargetTooLong => "The address of the request is too long.",
            Self::HeadTooLarge => "The header of the request is too large.",
            Self::TooManyFields => "The request has too many header fields.",
            Self::LineEnd => "A line of the header has no proper end.",
            Self::FoldedField => "A header field must not be continued on another line.",
            Self::FieldName => "The name of a header field is malformed.",
            Self::FieldValue => "The value of a header field is malformed.",
            Self::HostMissing => "The header field Host is missing.",
            Self::HostRepeated => "The header field Host is repeated.",
            Self::HostInvalid => "The header field Host is malformed.",
            Self::HostDisagrees => "The header field Host is not that of the address.",
            Self::ContentLength => "The header field Content-Length is malformed or repeated.",
            Self::TransferEncoding => "The transfer encoding is not supported.",
            Self::LengthAndChunks => "The request has a length beside a transfer encoding.",
            Self::Nomination => "The header field Connection names a field that must be passed on.",
            Self::Chunk => "A chunk of the body is malformed.",
            Self::Trailers => "The trailers of the request are malformed or too large.",
            Self::Http2Message => "The request is malformed.",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason(), self.rule())
    }
}

impl Error for Fault {}
