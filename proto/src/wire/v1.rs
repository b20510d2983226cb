//! Protocol version 1 as it was: the bodies that version 2 lays out anew, and the way between them.
//!
//! Frozen. Version 1 knows an end, not on whose word: read, it counts as a phone's, which no later
//! step may undo. It knows that a copy was let go, not up to where: read, it counts as up to any.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::frame::{Batch, Located, Promise, PromiseRecord, Standing};
use super::record::{Ending, Lease, Members, Record};
use crate::base::ids::{Ballot, CallId, Incarnation, MemberId, NodeId, Version};

/// Above every ballot.
const ANY: Ballot = Ballot {
    epoch: u32::MAX,
    owner: MemberId {
        node: NodeId(u64::MAX),
        incarnation: Incarnation {
            number: u32::MAX,
            boot: u32::MAX,
        },
    },
};

#[derive(Serialize, Deserialize)]
pub(super) struct RecordV1 {
    key: CallId,
    ballot: Ballot,
    version: Version,
    members: Members,
    old: Members,
    lease: Lease,
    ended: bool,
    degraded: bool,
    age_ms: u32,
    state: Bytes,
}

#[derive(Serialize, Deserialize)]
pub(super) struct BatchV1 {
    session: u64,
    stamp: u64,
    first: u64,
    records: Vec<RecordV1>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PromiseV1 {
    key: CallId,
    ballot: Ballot,
    record: PromiseRecordV1,
}

#[derive(Serialize, Deserialize)]
enum PromiseRecordV1 {
    Known(RecordV1),
    Unknown,
    Released { ballot: Ballot, version: Version },
}

#[derive(Serialize, Deserialize)]
pub(super) struct LocatedV1 {
    key: CallId,
    standing: StandingV1,
}

#[derive(Serialize, Deserialize)]
enum StandingV1 {
    Owner {
        ballot: Ballot,
    },
    Copy {
        ballot: Ballot,
        members: Members,
        owner_silent: bool,
    },
    Unknown {
        had: bool,
    },
}

impl From<&Record> for RecordV1 {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key,
            ballot: record.ballot,
            version: record.version,
            members: record.members.clone(),
            old: record.old.clone(),
            lease: record.lease,
            ended: record.has_ended(),
            degraded: record.degraded,
            age_ms: record.age_ms,
            state: record.state.clone(),
        }
    }
}

impl From<RecordV1> for Record {
    fn from(record: RecordV1) -> Self {
        Self {
            key: record.key,
            ballot: record.ballot,
            version: record.version,
            members: record.members,
            old: record.old,
            lease: record.lease,
            end: if record.ended {
                Ending::ByPhone
            } else {
                Ending::No
            },
            degraded: record.degraded,
            age_ms: record.age_ms,
            state: record.state,
        }
    }
}

impl From<&Batch> for BatchV1 {
    fn from(batch: &Batch) -> Self {
        Self {
            session: batch.session,
            stamp: batch.stamp,
            first: batch.first,
            records: batch.records.iter().map(RecordV1::from).collect(),
        }
    }
}

impl From<BatchV1> for Batch {
    fn from(batch: BatchV1) -> Self {
        Self {
            session: batch.session,
            stamp: batch.stamp,
            first: batch.first,
            records: batch.records.into_iter().map(Record::from).collect(),
        }
    }
}

impl From<&Promise> for PromiseV1 {
    fn from(promise: &Promise) -> Self {
        Self {
            key: promise.key,
            ballot: promise.ballot,
            record: match &promise.record {
                PromiseRecord::Known(record) => PromiseRecordV1::Known(record.into()),
                PromiseRecord::Unknown => PromiseRecordV1::Unknown,
                PromiseRecord::Released { ballot, version } => PromiseRecordV1::Released {
                    ballot: *ballot,
                    version: *version,
                },
            },
        }
    }
}

impl From<PromiseV1> for Promise {
    fn from(promise: PromiseV1) -> Self {
        Self {
            key: promise.key,
            ballot: promise.ballot,
            record: match promise.record {
                PromiseRecordV1::Known(record) => PromiseRecord::Known(record.into()),
                PromiseRecordV1::Unknown => PromiseRecord::Unknown,
                PromiseRecordV1::Released { ballot, version } => {
                    PromiseRecord::Released { ballot, version }
                }
            },
        }
    }
}

impl From<&Located> for LocatedV1 {
    fn from(located: &Located) -> Self {
        Self {
            key: located.key,
            standing: match &located.standing {
                Standing::Owner { ballot } => StandingV1::Owner { ballot: *ballot },
                Standing::Copy {
                    ballot,
                    members,
                    owner_silent,
                } => StandingV1::Copy {
                    ballot: *ballot,
                    members: members.clone(),
                    owner_silent: *owner_silent,
                },
                Standing::Unknown { let_go } => StandingV1::Unknown {
                    had: let_go.is_some(),
                },
            },
        }
    }
}

impl From<LocatedV1> for Located {
    fn from(located: LocatedV1) -> Self {
        Self {
            key: located.key,
            standing: match located.standing {
                StandingV1::Owner { ballot } => Standing::Owner { ballot },
                StandingV1::Copy {
                    ballot,
                    members,
                    owner_silent,
                } => Standing::Copy {
                    ballot,
                    members,
                    owner_silent,
                },
                StandingV1::Unknown { had } => Standing::Unknown {
                    let_go: had.then_some(ANY),
                },
            },
        }
    }
}
