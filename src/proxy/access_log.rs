//! One line a request.
