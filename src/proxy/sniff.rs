//! The head of an answer's body, looked at in passing.
