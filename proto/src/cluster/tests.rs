//! The cluster room alone under a simulated fabric: every frame is encoded and decoded, time is
//! virtual, all chance flows from one seed, and a judge holds what PROTOCOL.md section 1 promises.
//!
//! No SIP here and no membership: calls are logs of steps, views are made by hand.
//!
//! | file | what |
//! |---|---|
//! | `world` | nodes, events, clocks |
//! | `faults` | what happens to nodes and links |
//! | `glance` | what tests ask |
//! | `net` | links, lanes, cuts: what the fabric may do to frames |
//! | `judge` | the invariants |
//! | `script` | phones and faults drawn from a seed |
//! | `fuzz` | many seeds, and the rules broken on purpose |
//! | `reach` | who is a way out for what a call says |
//! | `rules` | one test per rule, by number |
//! | `handoff` | the same for invitations, adoption, moving copies |
//! | `word` | whose word about another counts |
//! | `cover` | what the gauges say of calls that nobody else has |

mod cover;
mod faults;
mod fuzz;
mod glance;
mod handoff;
mod judge;
mod net;
mod reach;
mod rules;
mod script;
mod word;
mod world;
