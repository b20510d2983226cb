//! Goal: whatever has happened to a call, its image brings the same call back; and a peer whose
//! numbers rise is never told that they don't. Method: seeded histories of requests, answers, own
//! requests, responses and time, with a takeover now and then.

use callring_proto::base::rng;
use rand::Rng as _;

use crate::bodies::history::{Dice, History};

/// Chooses about 80 steps.
fn choices(seed: u8) -> [u8; 400] {
    let mut bytes = [0; 400];
    rng::from_seed([seed; 32]).fill_bytes(&mut bytes);
    bytes
}

#[test]
fn any_image_brings_the_same_call_back() {
    for seed in 0..200 {
        let choices = choices(seed);
        let mut history = History::new(Dice(&choices));
        while history.goes_on() {
            history.step();
            history.image();
        }
        history.finish();
    }
}

#[test]
fn d5_rising_numbers_are_never_out_of_order() {
    for seed in 0..200 {
        let choices = choices(seed);
        let mut history = History::new(Dice(&choices));
        while history.goes_on() {
            history.step(); // which says what must not be
        }
    }
}
