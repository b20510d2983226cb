//! The port that applications sit on: events in, commands out, state that is plain data.
//!
//! An application is synchronous and deterministic. Its state is serialised with the call, so that
//! whichever member owns the call next carries on with it. The same application runs alone or in a
//! cluster.
