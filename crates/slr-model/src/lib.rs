//! slr-model
