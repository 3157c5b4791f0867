//! slr-dataplane
