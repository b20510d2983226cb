//! Goal: the bytes between members, and those in records, are what they were. Method: an example of
//! each against a file; every cut of it; seeded damage to it; a call brought to life from a record
//! that lies in a file.

mod examples;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use callring_proto::base::rng;
use callring_proto::wire::{
    Address, Batch, DecodeError, Ending, Frame, Greeting, HEADER_BYTES, HELLO_HEAD_BYTES, Located,
    Record, Standing, VERSION, VERSION_MIN, decode,
};
use rand::RngExt as _;

use examples::{ADDRESS, frames, greetings, record};

fn folder(version: u8) -> PathBuf {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    goldens.join(format!("v{version}"))
}

/// A frame in this build's own words.
fn encode(address: Address, frame: &Frame) -> Bytes {
    callring_proto::wire::encode(address, frame, VERSION).expect("the newest version says it all")
}

/// A golden's bytes; none if there is no such file.
#[expect(
    clippy::disallowed_methods,
    reason = "the wall is the core's, tests read files"
)]
pub(crate) fn golden(version: u8, name: &str) -> Vec<u8> {
    fs::read(folder(version).join(name)).unwrap_or_default()
}

/// The bytes must be the goldens'; what was made instead is left for comparison.
fn check(version: u8, made: &[(String, Vec<u8>)]) {
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut other = Vec::new();
    for (name, made) in made {
        if golden(version, name) != *made {
            fs::write(beside.join(format!("v{version}-{name}")), made)
                .expect("the test's own folder can be written");
            other.push(name);
        }
    }
    assert!(
        other.is_empty(),
        "{other:?}: this build writes other bytes, see {}. The goldens stay: a new layout is a new \
         version (tests/golden/README.md)",
        beside.display()
    );
}

#[test]
fn frames_are_written_and_read_as_ever() {
    let file = |name: &str| format!("frame-{name}.bin");
    for version in VERSION_MIN..=VERSION {
        let said = said_in(version);
        let made: Vec<_> = said
            .iter()
            .map(|(name, _, bytes)| (file(name), bytes.to_vec()))
            .collect();
        check(version, &made);
        for (name, frame, _) in said {
            let golden = golden(version, &file(name));
            assert_eq!(decode(&golden, VERSION), Ok((ADDRESS, frame)), "{name}");
        }
    }
}

/// The examples that a version has words for, and those words.
fn said_in(version: u8) -> Vec<(&'static str, Frame, Bytes)> {
    let said = frames().into_iter().filter_map(|(name, frame)| {
        let bytes = callring_proto::wire::encode(ADDRESS, &frame, version)?;
        let newer = version == 1 && name == "located-let-go";
        (!newer).then_some((name, frame, bytes))
    });
    said.collect()
}

/// Version 1 has no word for who ended a call: read, an end counts as a phone's. A reader that is
/// held to version 1 refuses the next.
#[test]
fn version_one_knows_an_end_without_its_cause() {
    for (end, read) in [
        (Ending::No, Ending::No),
        (Ending::ByTime, Ending::ByPhone),
        (Ending::ByPhone, Ending::ByPhone),
    ] {
        let batch = |end| {
            let records = vec![Record { end, ..record() }];
            Frame::Batch(Batch {
                session: 1,
                stamp: 2,
                first: 3,
                records,
            })
        };
        let bytes = callring_proto::wire::encode(ADDRESS, &batch(end), 1).expect("a batch");
        assert_eq!(decode(&bytes, 1), Ok((ADDRESS, batch(read))));
        let newer = encode(ADDRESS, &batch(end));
        assert_eq!(decode(&newer, 1), Err(DecodeError::Version(2)));
    }
}

/// Version 1 says that a copy was let go, not up to which ballot: read, it counts as up to any.
#[test]
fn version_one_knows_a_release_without_its_place() {
    let located = |let_go| {
        Frame::Located(Located {
            key: record().key,
            standing: Standing::Unknown { let_go },
        })
    };
    let ballot = record().ballot;
    for let_go in [None, Some(ballot)] {
        let bytes = callring_proto::wire::encode(ADDRESS, &located(let_go), 1).expect("since 1");
        let Ok((_, Frame::Located(read))) = decode(&bytes, 1) else {
            panic!("not read");
        };
        let Standing::Unknown { let_go: read } = read.standing else {
            panic!("{read:?}");
        };
        assert_eq!(read.is_some(), let_go.is_some());
        assert!(read.is_none_or(|read| read > ballot));
    }
}

#[test]
fn records_are_written_and_read_as_ever() {
    let made = postcard::to_stdvec(&record()).expect("a record is plain data");
    check(VERSION, &[("record.bin".into(), made)]);
    let golden = golden(VERSION, "record.bin");
    assert_eq!(postcard::from_bytes(&golden), Ok(record()));
}

#[test]
fn greetings_are_written_and_read_as_ever() {
    let file = |name: &str| format!("greeting-{name}.bin");
    let made: Vec<_> = greetings()
        .iter()
        .map(|(name, greeting)| (file(name), greeting.encode()))
        .collect();
    check(1, &made);
    for (name, greeting) in greetings() {
        let file = file(name);
        let bytes = golden(1, &file);
        let (head, body) = bytes
            .split_first_chunk::<HELLO_HEAD_BYTES>()
            .expect("a head");
        assert_eq!(Greeting::body_length(head), Ok(body.len()), "{file}");
        assert_eq!(Greeting::decode_body(body), Ok(greeting), "{file}");
    }
}

/// Every file of the folder is looked at by some test here.
#[test]
fn no_golden_is_forgotten() {
    for version in VERSION_MIN..=VERSION {
        let said = said_in(version);
        let frames = said.iter().map(|(name, ..)| format!("frame-{name}.bin"));
        let mut expected: Vec<String> = frames.collect();
        expected.extend(["record.bin", "call-state.bin"].map(str::to_owned));
        if version == 1 {
            let greetings = greetings();
            let greetings = greetings
                .iter()
                .map(|(name, _)| format!("greeting-{name}.bin"));
            expected.extend(greetings);
            expected.push("call-tag.txt".to_owned());
        }
        expected.sort();
        assert_eq!(listed(version), expected);
    }
}
fn listed(version: u8) -> Vec<String> {
    let entries = fs::read_dir(folder(version)).expect("the goldens can be listed");
    let mut found: Vec<String> = entries
        .map(|entry| entry.expect("an entry can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

/// A frame cut anywhere is an error, also when its header agrees with the cut.
#[test]
fn a_cut_frame_is_an_error() {
    for (name, frame) in frames() {
        let whole = encode(ADDRESS, &frame);
        for cut in 0..whole.len() {
            assert!(
                decode(&whole[..cut], VERSION).is_err(),
                "{name} cut at {cut}"
            );
            if cut >= HEADER_BYTES {
                let agreeing = with_length(&whole[..cut]);
                assert!(
                    decode(&agreeing, VERSION).is_err(),
                    "{name} cut at {cut}, told so"
                );
            }
        }
    }
}

/// A frame with a byte too many is an error, after it or inside it.
#[test]
fn a_frame_with_more_than_itself_is_an_error() {
    for (name, frame) in frames() {
        let mut longer = encode(ADDRESS, &frame).to_vec();
        longer.push(0);
        assert!(decode(&longer, VERSION).is_err(), "{name} and a byte");
        assert!(
            decode(&with_length(&longer), VERSION).is_err(),
            "{name} and a byte, told so"
        );
    }
}

/// The frame with its header's length made to fit.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let body = bytes.len().saturating_sub(HEADER_BYTES);
    if let Some(field) = bytes.get_mut(8..HEADER_BYTES) {
        field.copy_from_slice(&u32::try_from(body).expect("a short body").to_be_bytes());
    }
    bytes
}

/// Damage makes an error or another frame, never a panic; and what is read can be written and reads
/// back the same.
#[test]
fn damaged_frames_are_read_totally() {
    const ROUNDS: u32 = 2_000;
    let mut rng = rng::from_seed([42; 32]);
    let mut still_frames = 0;
    for (name, frame) in frames() {
        let whole = encode(ADDRESS, &frame).to_vec();
        for _ in 0..ROUNDS {
            let damaged = damage(whole.clone(), &mut rng);
            for bytes in [with_length(&damaged), damaged] {
                let Ok((address, read)) = decode(&bytes, VERSION) else {
                    continue;
                };
                still_frames += 1;
                let again = encode(address, &read);
                assert_eq!(
                    decode(&again, VERSION),
                    Ok((address, read)),
                    "{name}: {bytes:02x?}"
                );
            }
        }
    }
    // Else the damage is too coarse to try the bodies.
    assert!(still_frames > ROUNDS, "{still_frames}");
}

/// A few bytes of it changed, repeated, added or gone.
pub(crate) fn damage(mut bytes: Vec<u8>, rng: &mut rng::Rng) -> Vec<u8> {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len().max(1)).min(bytes.len());
        match rng.random_range(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 => bytes.extend_from_within(at..),
            3 => drop(bytes.splice(at..(at + 4).min(bytes.len()), [0xff; 10])),
            _ => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 1 << (at % 8)),
        }
    }
    bytes
}

/// The same for greetings: a stranger's first bytes.
#[test]
fn damaged_greetings_are_read_totally() {
    let mut rng = rng::from_seed([43; 32]);
    for (name, greeting) in greetings() {
        let body = greeting.encode().split_off(HELLO_HEAD_BYTES);
        for cut in 0..body.len() {
            assert!(
                Greeting::decode_body(&body[..cut]).is_err(),
                "{name} cut at {cut}"
            );
        }
        for _ in 0..2_000 {
            let damaged = damage(body.clone(), &mut rng);
            if let Ok(read) = Greeting::decode_body(&damaged) {
                let again = read.encode().split_off(HELLO_HEAD_BYTES);
                assert_eq!(
                    Greeting::decode_body(&again),
                    Ok(read),
                    "{name}: {damaged:02x?}"
                );
            }
        }
    }
}
