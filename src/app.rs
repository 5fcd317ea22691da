//! The place that names every part and wires it.
