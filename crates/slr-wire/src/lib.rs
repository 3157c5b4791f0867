//! slr-wire
