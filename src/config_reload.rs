//! file -> Config -> Change -> Control.
