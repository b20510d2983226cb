//! Ownership under fire, reduced: the experiments of `fire` with few calls, once each. What is slow
//! here is printed and judged by nothing; what is lost fails.

use std::time::Duration;

use cluster_tests::fire::{self, Options};
use cluster_tests::relay::Weather;

const SMALL: Options = Options {
    calls: 200,
    rate: 200,
    repeats: 1,
    fault: Duration::from_secs(10),
    weather: None,
    seed: 1,
    strict: false,
};

#[test]
fn the_next_request_takes_the_call_over() {
    fire::takeover(&SMALL).expect_clean();
}

#[test]
fn the_next_request_takes_the_call_over_on_bad_links() {
    let weather = Some(Weather::new(20, 5));
    fire::takeover(&Options { weather, ..SMALL }).expect_clean();
}
