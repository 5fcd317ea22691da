//! The form of values for administrators.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::units::{Size, show_duration, show_size};
use crate::config::{AccessLogDestination, ListenAddress, Share, SocketMode};

/// The form in which a value is shown to administrators: as in the file, without quotes.
pub(in crate::config) trait Show {
    fn show(&self) -> String;
}

impl Show for Duration {
    fn show(&self) -> String {
        show_duration(*self)
    }
}

impl Show for Size {
    fn show(&self) -> String {
        show_size(*self)
    }
}

impl Show for AccessLogDestination {
    fn show(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Stdout => "stdout".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl Show for String {
    fn show(&self) -> String {
        self.clone()
    }
}

impl Show for bool {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for i64 {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for Share {
    fn show(&self) -> String {
        self.get().to_string()
    }
}

impl Show for ListenAddress {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for SocketMode {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Show for SocketAddr {
    fn show(&self) -> String {
        self.to_string()
    }
}
