//! What passes between client and upstream beside the body.
