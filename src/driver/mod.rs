//! Does what the cluster asks and reports what happened.
