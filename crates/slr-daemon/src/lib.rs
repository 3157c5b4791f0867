//! slr-daemon
