//! The host side: decapsulation, replies, keepalives.
