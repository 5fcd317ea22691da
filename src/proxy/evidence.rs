//! What an answer tells about the upstream that gave it.
