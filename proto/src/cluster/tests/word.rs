//! Words about others: whose count, and when nobody has one to give.

use super::rules::{KEY, clean, with_call};
use super::world::{MS, World};
use crate::base::ids::{Ballot, MemberId};
use crate::cluster::effect::Effect;
use crate::cluster::policy::AckPolicy;
use crate::wire::{Address, Claim, Frame, Located, Standing, Vouch};

fn promised(world: &mut World, nth: usize) -> u32 {
    let entry = world.cluster(nth).entries.get(&KEY);
    entry.map_or(0, |entry| entry.promised.epoch)
}

/// Rule 11: that the owner has nothing counts only if it has let the copy of that ballot go. Goal:
/// an answer that an owner gave before it got its present copy, and that comes late, frees nobody
/// from it. Method: a claim waits at a replica for the owner's word; the word is put in before the
/// true one is there.
#[test]
fn rule_11_an_answer_of_before_frees_nobody() {
    for let_go in [None, Some(0), Some(1)] {
        let (mut world, replicas) = with_call(4, 3, AckPolicy::One);
        let (claimant, holder) = (replicas[0], replicas[1]);
        let owner = world.nodes[0].member;
        let had = let_go == Some(1);
        let let_go = let_go.map(|epoch| Ballot { epoch, owner });
        let ballot = Ballot {
            epoch: 2,
            owner: world.nodes[claimant].member,
        };
        let standing = Standing::Unknown { let_go };
        let key = KEY;
        for (from, frame) in [
            (claimant, Frame::Claim(Claim { key, ballot })),
            (0, Frame::Located(Located { key, standing })),
        ] {
            let session = world.net.session(from, holder).expect("a link");
            let from = world.nodes[from].member;
            world.inject(holder, from, session, &frame);
        }
        let epoch = promised(&mut world, holder);
        assert_eq!(epoch, if had { 2 } else { 1 });
        if !had {
            world.run_for(MS * 50);
            assert_eq!(promised(&mut world, holder), 1, "the owner said that it is");
            clean(&world);
        }
    }
}

/// What a node answers when it is asked whether it hears a shard of `member`.
fn vouched(world: &mut World, nth: usize, member: MemberId, shard: u16) -> Option<bool> {
    let asker = world.nodes[2].member;
    let session = world.net.session(2, nth).expect("a link");
    let now = world.node_now(nth);
    let address = Address {
        from_shard: 0,
        to_shard: 0,
    };
    let cluster = world.cluster(nth);
    let vouch = Frame::Vouch(Vouch { member, shard });
    cluster.on_frame(asker, session, address, vouch, now);
    std::iter::from_fn(|| cluster.poll_effect(now)).find_map(|effect| match effect {
        Effect::Frame {
            frame: Frame::Vouched(vouched),
            ..
        } => Some(vouched.heard),
        _ => None,
    })
}

/// SIP.md S3.3: a witness that has just started, and has not heard the owner yet, is none. Method:
/// asked about a shard that is heard, and about one that is not there: it answers when it has
/// waited for it in vain itself.
#[test]
fn who_never_heard_an_owner_is_no_witness() {
    let (mut world, _) = with_call(3, 3, AckPolicy::One);
    let owner = world.nodes[0].member;
    assert_eq!(vouched(&mut world, 1, owner, 0), Some(true));
    assert_eq!(vouched(&mut world, 1, owner, 9), None);
    world.run_for(MS * 900);
    assert_eq!(vouched(&mut world, 1, owner, 9), None);
    world.run_for(MS * 200);
    assert_eq!(vouched(&mut world, 1, owner, 9), Some(false));
}
