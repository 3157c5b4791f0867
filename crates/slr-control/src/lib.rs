//! slr-control
