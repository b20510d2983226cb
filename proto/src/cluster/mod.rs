//! Who is a member, who owns a call, who holds copies. Knows keys and opaque bytes, never SIP.

pub mod view;
