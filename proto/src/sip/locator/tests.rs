//! Goal: locators and tags open for us alone, and only where they belong. Method: examples.

use super::*;
use crate::base::rng::from_seed;

const LEG: &[u8] = b"a84b4c76e66710@pc33.example.com";
const WHERE: Locator = Locator {
    call: CallId {
        position: 0x0123_4567_89ab_cdef,
        nonce: 42,
    },
    hint: 0xbeef,
};

fn key(id: u8) -> SealKey {
    SealKey {
        id,
        key: std::array::from_fn(|at| id ^ u8::try_from(at).unwrap()),
    }
}

fn keys(current: u8, previous: Option<u8>) -> SealKeys {
    SealKeys {
        current: key(current),
        previous: previous.map(key),
        position_secret: [7; 16],
        stateless_secret: [8; 16],
    }
}

fn sealer(current: u8, previous: Option<u8>) -> Sealer {
    Sealer::new(keys(current, previous)).unwrap()
}

fn rng() -> Rng {
    from_seed([9; 32])
}

#[test]
fn what_is_sealed_is_opened_in_any_case_of_letters() {
    let (sealer, mut rng) = (sealer(3, None), rng());
    let tag = sealer.seal_tag(LEG, WHERE, &mut rng);
    let branch = sealer.seal_branch(LEG, WHERE, &mut rng);
    assert_eq!((tag.len(), branch.len()), (TAG_CHARS, BRANCH_CHARS));
    const { assert!(TAG_CHARS <= 64 && BRANCH_CHARS <= 80) };
    let plain = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
    assert!(tag.chars().all(plain), "{tag}");
    for text in [tag.to_string(), tag.to_ascii_uppercase()] {
        assert_eq!(sealer.open_tag(LEG, &text), Some(WHERE));
    }
    for text in [branch.to_string(), branch.to_ascii_uppercase()] {
        assert_eq!(sealer.open_branch(LEG, &text), Some(WHERE));
    }
}

// Goal: a token says nothing to a stranger. Method: all that two tags of one call could share.
#[test]
fn two_tags_of_one_call_share_only_the_head() {
    let (sealer, mut rng) = (sealer(3, None), rng());
    let first = sealer.seal_tag(LEG, WHERE, &mut rng);
    for leg in [LEG, b"another leg"] {
        let second = sealer.seal_tag(leg, WHERE, &mut rng);
        let equal = first
            .bytes()
            .zip(second.bytes())
            .filter(|(a, b)| a == b)
            .count();
        assert!(equal < TAG_CHARS / 4, "{first} {second}");
    }
}

#[test]
fn another_call_id_purpose_or_key_does_not_open() {
    let (ours, mut rng) = (sealer(3, None), rng());
    let tag = ours.seal_tag(LEG, WHERE, &mut rng);
    let branch = ours.seal_branch(LEG, WHERE, &mut rng);
    assert_eq!(ours.open_tag(b"another leg", &tag), None);
    assert_eq!(ours.open_tag(&LEG.to_ascii_uppercase(), &tag), None);
    assert_eq!(ours.open_branch(b"another leg", &branch), None);
    assert_eq!(ours.open_tag(LEG, &branch), None);
    assert_eq!(ours.open_branch(LEG, &tag), None);
    assert_eq!(ours.open_tag(LEG, &branch[COOKIE.len()..]), None);
    assert_eq!(ours.open_branch(LEG, &format!("{COOKIE}{tag}")), None);
    assert_eq!(sealer(4, None).open_tag(LEG, &tag), None);
    let mut stranger = keys(3, None);
    stranger.current.key[31] ^= 1;
    assert_eq!(Sealer::new(stranger).unwrap().open_tag(LEG, &tag), None);
}

// Goal: no bit is unauthenticated. Method: each of the 320 bits, and each character, changed.
#[test]
fn any_change_closes_it() {
    let sealer = sealer(3, Some(2));
    let tag = sealer.seal_tag(LEG, WHERE, &mut rng());
    let token: [u8; TOKEN_BYTES] = from_text(&tag).unwrap();
    for bit in 0..TOKEN_BYTES * 8 {
        let mut changed = token;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(sealer.open_tag(LEG, &to_text(&changed)), None, "bit {bit}");
    }
    for at in 0..tag.len() {
        let mut changed = tag.clone().into_string();
        let other = if &tag[at..=at] == "q" { "r" } else { "q" };
        changed.replace_range(at..=at, other);
        assert_eq!(sealer.open_tag(LEG, &changed), None, "character {at}");
    }
}

#[test]
fn text_that_is_no_token_is_no_locator() {
    let sealer = sealer(3, None);
    let tag = sealer.seal_tag(LEG, WHERE, &mut rng());
    let long = format!("{tag}{tag}");
    let marks = "é".repeat(TAG_CHARS / 2);
    for bad in [
        "",
        "a",
        "z9hG4bK",
        &tag[1..],
        &long,
        &marks,
        &"0".repeat(64),
        &"=".repeat(64),
    ] {
        assert_eq!(sealer.open_tag(LEG, bad), None, "{bad}");
        assert_eq!(sealer.open_branch(LEG, bad), None, "{bad}");
        assert_eq!(
            sealer.open_branch(LEG, &format!("{COOKIE}{bad}")),
            None,
            "{bad}"
        );
    }
}

#[test]
fn two_keys_open_while_they_rotate() {
    let (before, after) = (sealer(3, Some(4)), sealer(4, Some(3)));
    let (old, new) = (
        before.seal_tag(LEG, WHERE, &mut rng()),
        after.seal_tag(LEG, WHERE, &mut rng()),
    );
    for member in [&before, &after] {
        assert_eq!(member.open_tag(LEG, &old), Some(WHERE));
        assert_eq!(member.open_tag(LEG, &new), Some(WHERE));
        assert_eq!(member.position(LEG), before.position(LEG));
    }
    assert_eq!(sealer(4, None).open_tag(LEG, &old), None);
}

#[test]
fn keys_that_cannot_serve_are_refused_and_never_printed() {
    let refused = |current, previous| Sealer::new(keys(current, previous)).err();
    assert_eq!(refused(16, None), Some(BadSealKeys::IdTooLarge(16)));
    assert_eq!(refused(1, Some(99)), Some(BadSealKeys::IdTooLarge(99)));
    assert_eq!(refused(1, Some(1)), Some(BadSealKeys::SameId(1)));
    assert_eq!(refused(15, Some(0)), None);
    let printed = format!("{:?}", sealer(3, Some(4)));
    let known = "Sealer { keys: SealKeys { current: SealKey #3 (secret), \
                 previous: Some(SealKey #4 (secret)), .. } }";
    assert_eq!(printed, known);
}

// Goal: the format never changes unseen: tags outlive releases. Old lines stay for ever.
#[test]
fn golden_tokens() {
    let (sealer, mut rng) = (sealer(3, None), rng());
    let tag = "cpzxd5ugqxan7r44pizxx3ph2jo4vfjryrhk7mcdhzxx2wgu7nnx7sawmuymo7b7";
    let branch = "z9hG4bKcnzqqet6jj7dskx2qblf3wbdzon3bmbfw5oocijbhhpxiky462s6huoypmlhzd74";
    assert_eq!(&*sealer.seal_tag(LEG, WHERE, &mut rng), tag);
    assert_eq!(&*sealer.seal_branch(LEG, WHERE, &mut rng), branch);
    assert_eq!(sealer.open_tag(LEG, tag), Some(WHERE));
    assert_eq!(sealer.open_branch(LEG, branch), Some(WHERE));
    assert_eq!(sealer.position(LEG), 0x21da_5935_4fcf_bc66);
    assert_eq!(
        &*sealer.stateless_tag(&[b"z9hG4bKx", LEG]),
        "0spprtwenznv5w2w5vibbxw5ce4"
    );
}

#[test]
fn a_stateless_tag_is_a_function_of_the_request() {
    let sealer = sealer(3, None);
    let parts: &[&[u8]] = &[b"z9hG4bKx", LEG, b"1"];
    let tag = sealer.stateless_tag(parts);
    assert_eq!(tag, sealer.stateless_tag(parts));
    assert_eq!(tag.len(), STATELESS_TAG_CHARS);
    assert!(tag.chars().all(|c| c.is_ascii_alphanumeric()));
    for text in [tag.to_string(), tag.to_ascii_uppercase()] {
        assert!(is_stateless_tag(&text));
        assert!(sealer.is_stateless_tag_of(parts, &text));
    }
    let others: [&[&[u8]]; 3] = [
        &[b"z9hG4bKy", LEG, b"1"],
        &[b"z9hG4bKx", LEG],
        &[b"z9hG4b", b"Kx", LEG, b"1"],
    ];
    for other in others {
        assert!(!sealer.is_stateless_tag_of(other, &tag));
    }
    assert_eq!(sealer.open_tag(LEG, &tag), None);
    let sealed = sealer.seal_tag(LEG, WHERE, &mut rng());
    for no in [&*sealed, "", "0", &tag[1..], &format!("{tag}a"), "0é"] {
        assert!(!is_stateless_tag(no), "{no}");
    }
}

#[test]
fn the_hint_is_the_low_bits_of_a_node() {
    assert_eq!(owner_hint(NodeId(0x1234_5678_9abc_def0)), 0xdef0);
}
