//! Tests with real `callring` processes, a real network and real kills. Each says its goal and its
//! method in its first line; each ends with the referee's verdict on all that was on the wire.
//!
//! Timing decides nothing here but where a bound is the promise itself; figures are printed.

mod addresses;
mod answer_once;
mod bridges;
mod commit;
mod edge;
mod fire;
mod flows;
mod load;
mod members;
mod relay;
mod scenarios;
mod setup;
mod sim;
mod softphones;
mod story;
mod strangers;
mod subscriptions;
mod swim;
mod takeover;
