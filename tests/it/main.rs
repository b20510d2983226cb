//! Tests from outside: the command line held to its contract, and the applications that ship, on a
//! shard without sockets.

mod b2bua;
mod cli;
mod examples;
