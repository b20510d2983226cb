//! Why a leg ended, as it lies in a record: frozen, new causes go to the end.

use serde::{Deserialize, Serialize};

use crate::sip::effect::Cause;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CauseImage {
    PeerBye,
    OwnBye,
    Cancelled,
    Refused,
    NoAck,
    Lost,
    Rejected,
    Elsewhere,
    Unsubscribed,
    Expired,
}

macro_rules! causes {
    ($($cause:ident),+) => {
        impl From<Cause> for CauseImage {
            fn from(cause: Cause) -> Self {
                match cause { $(Cause::$cause => Self::$cause,)+ }
            }
        }
        impl From<CauseImage> for Cause {
            fn from(image: CauseImage) -> Self {
                match image { $(CauseImage::$cause => Self::$cause,)+ }
            }
        }
    };
}

causes!(
    PeerBye,
    OwnBye,
    Cancelled,
    Refused,
    NoAck,
    Lost,
    Rejected,
    Elsewhere,
    Unsubscribed,
    Expired
);
