//! Releases: telling members that their copies may go, until they have heard it.
//!
//! PROTOCOL.md rules 17, 18 and 20. A release that is lost leaves a copy that nobody updates; when
//! everybody it names is gone it would be claimed, and an ended call would rise. So a release is
//! said in every session until a later stamp of ours comes back: lanes keep their order.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Effect;
use super::engine::{Cluster, Wake};
use super::liveness::Peer;
use super::sabotage::Break;
use super::view::{MemberInfo, MemberState};
use crate::base::ids::{Ballot, CallId, MemberId, Version};
use crate::base::limits::T1_X64;
use crate::base::time::Instant;
use crate::wire::{Frame, Members, Record, Release};

/// The version that a purged end is released up to: nothing of its ballot comes after it, and
/// whoever meets the mark knows that the call is over.
pub(super) const ENDED: Version = Version::MAX;

#[derive(Clone, Copy, Debug)]
struct Due {
    ballot: Ballot,
    version: Version,
    /// In which session it was said, and when.
    said: Option<(u64, Instant)>,
}

/// Releases that have not been heard for sure.
#[derive(Debug, Default)]
pub(super) struct Releases(BTreeMap<Peer, BTreeMap<CallId, Due>>);

impl Releases {
    /// A member is gone, and its copies with it, unless it lives on under a new name.
    pub(super) fn forget(&mut self, member: MemberId, later: Option<MemberId>) {
        let of_member = |peer: &Peer| peer.member == member;
        let gone: Vec<Peer> = self.0.keys().copied().filter(of_member).collect();
        for peer in gone {
            let due = self.0.remove(&peer).unwrap_or_default();
            let Some(member) = later else { continue };
            let known = self.0.entry(Peer { member, ..peer }).or_default();
            for (key, due) in due {
                known.entry(key).or_insert(Due { said: None, ..due });
            }
        }
    }

    /// Everything said in this session before `echo` has been heard.
    pub(super) fn echoed(&mut self, peer: Peer, session: u64, echo: Instant) {
        let Some(due) = self.0.get_mut(&peer) else {
            return;
        };
        due.retain(|_, due| {
            due.said
                .is_none_or(|(said_in, at)| said_in != session || at >= echo)
        });
        if due.is_empty() {
            self.0.remove(&peer);
        }
    }
}

impl<H> Cluster<H> {
    /// `member` may drop its copy of `key`, up to this position.
    pub(super) fn release_copy(
        &mut self,
        member: MemberId,
        key: CallId,
        (ballot, version): (Ballot, Version),
        now: Instant,
    ) {
        // Who is declared down may go on under a new name, with its copy: it is told then.
        let member = self.life_of(member).unwrap_or(member);
        if member == self.me || !self.may_come_back(member) {
            return;
        }
        let peer = self.peer(member, key);
        let due = Due {
            ballot,
            version,
            said: None,
        };
        self.releases.0.entry(peer).or_default().insert(key, due);
        self.say_releases(peer, now);
    }

    /// The member, or the life that its node goes on in: that one may have kept what the former
    /// had.
    pub(super) fn life_of(&self, member: MemberId) -> Option<MemberId> {
        if !self.view.is_gone(member) {
            return Some(member);
        }
        let known = self.view.node(member.node)?;
        (known.state.is_live() && known.id != member).then_some(known.id)
    }

    /// Whether a member is there, or was given up and may be there nevertheless.
    fn may_come_back(&self, member: MemberId) -> bool {
        let known = self.view.node(member.node);
        let down = |known: &MemberInfo| known.id == member && known.state == MemberState::Down;
        !self.view.is_gone(member) || known.is_some_and(down)
    }

    /// Whether a member that is gone, or a later life of its node, may have the copies it had.
    pub(super) fn may_hold_on(&self, member: MemberId) -> bool {
        self.life_of(member).is_some() || self.may_come_back(member)
    }

    /// The view has changed: what is due to members that are gone is due to their later lives.
    pub(super) fn releases_in_view(&mut self, now: Instant) {
        let members = self.releases.0.keys().map(|peer| peer.member);
        let unknown = |member: &MemberId| self.view.node(member.node).is_none();
        let lost = |member: &MemberId| self.view.is_gone(*member) || unknown(member);
        let members: BTreeSet<MemberId> = members.filter(lost).collect();
        for member in members {
            let unknown = self.view.node(member.node).is_none();
            let later = self.life_of(member).filter(|later| *later != member);
            if later.is_none() && !unknown && self.may_come_back(member) {
                continue;
            }
            self.releases.forget(member, later);
            let of_later = |peer: &&Peer| Some(peer.member) == later;
            let peers: Vec<Peer> = self.releases.0.keys().filter(of_later).copied().collect();
            for peer in peers {
                self.say_releases(peer, now);
            }
        }
    }

    /// How many members have yet to hear a release, and can.
    pub(super) fn releases_due(&self) -> usize {
        let members = self.releases.0.keys();
        members
            .filter(|peer| !self.view.is_gone(peer.member))
            .count()
    }

    /// What we owned goes on above us, by somebody who had not heard of all that we listed: they
    /// hold copies that nobody else knows of.
    pub(super) fn release_followers(&mut self, former: &Record, now: Instant) {
        if former.ballot.owner.node != self.me.node {
            return;
        }
        for member in former.listed() {
            self.release_copy(member, former.key, former.rank(), now);
        }
    }

    /// Says what has not been said in the present session.
    pub(super) fn say_releases(&mut self, peer: Peer, now: Instant) {
        let (Some(lane), Some(due)) = (self.lanes.get_mut(&peer), self.releases.0.get_mut(&peer))
        else {
            return;
        };
        let Some(session) = lane.session() else {
            return;
        };
        for (key, due) in due {
            if due.said.is_some_and(|(said_in, _)| said_in == session) {
                continue;
            }
            due.said = Some((session, now));
            lane.say(Frame::Release(Release {
                key: *key,
                ballot: due.ballot,
                version: due.version,
            }));
        }
    }

    /// Rule 20: the end of an ended call, once everybody has it and nobody can ask any more.
    pub(super) fn purge(&mut self, key: CallId, now: Instant) {
        let Some(owned) = self.owned(key) else { return };
        let Some(ended_at) = owned.ended_at else {
            return;
        };
        let everybody = owned.record.listed().all(|member| {
            self.view.is_gone(member) || owned.acked(member) == Some(owned.record.version)
        });
        let due = now.since(ended_at) >= T1_X64 && everybody;
        if !due && !self.breaks(Break::PurgeEarly) {
            self.wake_at(now + T1_X64 / 8, Wake::Purge(key));
            return;
        }
        let (ballot, version) = (owned.record.ballot, ENDED);
        let held = owned.gate.len();
        let listed: Members = owned.record.listed().collect();
        for member in listed {
            self.release_copy(member, key, (ballot, version), now);
        }
        self.held = self.held.saturating_sub(held);
        self.entries.remove(&key);
        self.had.insert(key, (ballot, version));
        self.effect(Effect::Yielded { key });
    }
}
