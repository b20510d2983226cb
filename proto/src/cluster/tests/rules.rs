//! One test per rule of PROTOCOL.md, by number.
