//! The real binary between real programs: Debian's Tomcat and MapServer behind it, GDAL, Python's
//! client libraries and promtool in front of it.
//!
//! A program that is missing fails the test, which names the package: `make test` installs them.

mod acme;
mod clients;
mod front;
#[cfg(feature = "h2spec")]
mod h2spec;
mod mapserver;
mod monitoring;
mod program;
mod promtool;
mod tomcat;
mod wait;
