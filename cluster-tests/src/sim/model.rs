//! The reference model: what each phone was told, and so what whoever speaks for its call must
//! know. A few numbers per call, kept in the order in which messages left; nothing of how nodes
//! work.

use std::collections::{BTreeMap, BTreeSet};

use callring_proto::base::ids::{Ballot, MemberId, Version};
use callring_proto::base::time::Instant;
use callring_proto::shard::Probe;
use callring_proto::sip::{Message, Method};

/// A message of a call that a node lets out.
pub(super) struct Emission<'a> {
    pub(super) at: Instant,
    pub(super) message: &'a Message,
    /// The call's record as it lies at the node that speaks.
    pub(super) speaker: Option<&'a Probe>,
    /// Exactly this has not left before.
    pub(super) fresh: bool,
    /// The speaker knew of nobody who could have kept a copy.
    pub(super) alone: bool,
}

impl Emission<'_> {
    /// The speaker's record, if it owns the call.
    pub(super) fn owner(&self) -> Option<&Probe> {
        self.speaker.filter(|probe| probe.holding.owned)
    }

    /// What it tells of: a change of the call that must not be forgotten.
    pub(super) fn news(&self) -> Option<News> {
        let message = self.message;
        let number = message.cseq_number();
        if message.is_request() {
            return (*message.method() != Method::Ack).then(|| News::Request {
                number,
                ends: *message.method() == Method::Bye,
            });
        }
        match (message.status().unwrap_or(0), message.method()) {
            (200..300, Method::Bye) => Some(News::Ended),
            (200..300, Method::Cancel) => None,
            (200..300, _) => Some(News::Answered(number)),
            _ => None,
        }
    }
}

/// See [`Emission::news`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The phone's request with this number was done.
    Answered(u32),
    /// Its BYE was taken.
    Ended,
    /// A request of the call's own.
    Request { number: u32, ends: bool },
}

impl News {
    /// Whether it answers a phone.
    pub(super) fn is_answer(self) -> bool {
        !matches!(self, Self::Request { .. })
    }

    /// Whether a record knows of it.
    pub(super) fn is_in(self, probe: &Probe) -> bool {
        match self {
            Self::Answered(number) => probe.confirmed && probe.remote_seq >= Some(number),
            Self::Ended => probe.holding.ended,
            Self::Request { number, ends } => {
                probe.local_seq >= number && (probe.holding.ended || !ends)
            }
        }
    }
}

/// A request of the call's own, as it first left.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) branch: String,
    pub(super) epoch: u32,
    pub(super) bye: bool,
}

/// What has been told of one call.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Who spoke first at each epoch, and when.
    pub(super) speakers: BTreeMap<u32, (MemberId, Instant)>,
    /// Everything that was let out, as hashes.
    pub(super) said: BTreeSet<u64>,
    /// A 2xx to the INVITE.
    pub(super) confirmed: bool,
    /// And then a refusal of it, by another owner.
    pub(super) undone: bool,
    /// The highest number of a phone's request that got a 2xx.
    pub(super) answered: u32,
    /// The end, by 2xx or BYE.
    pub(super) ended: bool,
    /// The call's own requests by number.
    pub(super) asked: BTreeMap<u32, Asked>,
    /// The highest position that could be told.
    pub(super) committed: (Ballot, Version),
    /// Something was told with no copy anywhere: whatever follows, it was marked as degraded.
    pub(super) alone: bool,
}

impl Told {
    /// The highest epoch that has spoken.
    pub(super) fn epoch(&self) -> u32 {
        self.speakers.keys().next_back().copied().unwrap_or(0)
    }

    /// Takes an emission in, after it was judged.
    pub(super) fn hear(&mut self, emission: &Emission<'_>) {
        let Some(owner) = emission.owner() else {
            return;
        };
        let (ballot, news) = (owner.holding.ballot, emission.news());
        let speaker = (ballot.owner, emission.at);
        self.speakers.entry(ballot.epoch).or_insert(speaker);
        self.alone |= emission.alone;
        self.committed = self.committed.max((ballot, owner.holding.committed));
        let message = emission.message;
        let refuses = *message.method() == Method::Invite && message.status() >= Some(300);
        self.undone |= self.confirmed && refuses && message.cseq_number() == 1;
        match news {
            Some(News::Answered(number)) => {
                self.confirmed = true;
                self.answered = self.answered.max(number);
            }
            Some(News::Ended) => self.ended = true,
            Some(News::Request { number, ends }) => {
                self.ended |= ends;
                self.asked.entry(number).or_insert_with(|| Asked {
                    branch: emission.message.branch().unwrap_or_default().to_owned(),
                    epoch: ballot.epoch,
                    bye: ends,
                });
            }
            None => {}
        }
    }
}
