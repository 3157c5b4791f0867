//! slr-policy
