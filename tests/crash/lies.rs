//! Deliberate mistakes are caught.
