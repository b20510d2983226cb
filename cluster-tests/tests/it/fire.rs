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

#[test]
fn the_next_request_takes_the_call_over_between_versions() {
    fire::mixed(&SMALL).expect_clean();
}

#[test]
fn a_zone_dies_and_the_other_has_the_copies() {
    fire::zones(&SMALL).expect_clean();
}

#[test]
fn held_calls_are_hung_up_on_time_though_a_node_dies() {
    // 100 a second, hung up after six seconds.
    let options = Options {
        calls: 600,
        rate: 100,
        ..SMALL
    };
    fire::hold(&options).expect_clean();
}

#[test]
fn members_leave_and_come_back_and_no_call_fails() {
    let options = Options { rate: 50, ..SMALL };
    fire::rolling(&options).expect_clean();
}

#[test]
fn a_newcomer_gets_its_share() {
    let options = Options {
        calls: 400,
        rate: 100,
        ..SMALL
    };
    fire::join(&options).expect_clean();
}

#[test]
fn a_partition_heals_to_one_owner_per_call() {
    let options = Options {
        calls: 500,
        rate: 50,
        ..SMALL
    };
    fire::partition(&options).expect_clean();
}
