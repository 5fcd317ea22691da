//! The counters (Prometheus).
