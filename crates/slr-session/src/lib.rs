//! slr-session
