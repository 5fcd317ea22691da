//! The address of a listener: an IP address with a port, or a unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The beginning of a unix socket's address, as in nginx.
const UNIX: &str = "unix:";

/// Longest path of a unix socket in bytes: the kernel's limit, without the zero at the end.
const MAX_PATH: usize = 107;

/// The address of every client of a unix socket. A socket admits some processes of this machine,
/// and a port on loopback all of them, so no list of addresses trusts a socket's clients more than
/// it trusts those of the port. GeoServer and log analysers expect an IP address.
pub const UNIX_PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The whole path of a unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Reads `10.0.0.2:8080` or `unix:/run/geofront/http.sock`.
    pub fn from_text(text: &str) -> Option<Self> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().ok().map(Self::Inet);
        };
        let names_a_file = path.starts_with('/')
            && !path.ends_with('/')
            && !path.contains('\0')
            && Path::new(path).file_name().is_some();
        (names_a_file && path.len() <= MAX_PATH).then(|| Self::Unix(path.into()))
    }

    /// The IP address and the port; `None` for a unix socket.
    pub const fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Inet(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// The remedy for a text that is no address.
    pub(super) fn hint(text: &str) -> String {
        if text.starts_with('/') {
            return format!("did you mean \"{UNIX}{text}\"?");
        }
        match text.strip_prefix(UNIX) {
            Some(path) if path.len() > MAX_PATH => {
                format!(
                    "a path of at most {MAX_PATH} bytes, and this one has {}",
                    path.len()
                )
            }
            Some(_) => format!("behind `{UNIX}` stands the whole path of a file"),
            None => String::new(),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// The permissions of a unix socket's file. To connect, a process needs the one to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// geofront's user and group.
    pub const DEFAULT: Self = Self(0o660);

    /// Reads octal digits; `None` if no process could connect.
    pub fn from_text(text: &str) -> Option<Self> {
        let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| b.is_ascii_digit());
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
        (bits <= 0o777 && bits & 0o222 != 0).then_some(Self(bits))
    }

    /// The bits, as `chmod` takes them.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_ip_or_the_whole_path_of_a_file_that_the_kernel_takes() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/geofront/http.sock"] {
            let read = ListenAddress::from_text(text).map(|address| address.to_string());
            assert_eq!(read.as_deref(), Some(text));
        }
        let of_length = |length| format!("unix:/{}", "a".repeat(length - 1));
        assert!(ListenAddress::from_text(&of_length(MAX_PATH)).is_some());
        let too_long = of_length(MAX_PATH + 1);
        for text in [
            "unix:",
            "unix:/",
            "unix:a.sock",
            "unix:/run/",
            "unix:/run/..",
            "unix:/a\0b",
            "unix:@a",
            "/run/a.sock",
            "127.0.0.1",
            &too_long,
        ] {
            assert_eq!(ListenAddress::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_mode_is_octal_and_lets_somebody_connect() {
        let mode = |text| SocketMode::from_text(text).map(|mode| mode.to_string());
        assert_eq!(mode("0660").as_deref(), Some("0660"));
        assert_eq!(mode("666").as_deref(), Some("0666"));
        for text in ["", "66", "0888", "0444", "1777", "00660", "+660", "rw-"] {
            assert_eq!(mode(text), None, "{text}");
        }
    }
}
