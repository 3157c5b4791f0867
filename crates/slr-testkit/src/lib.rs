//! slr-testkit
