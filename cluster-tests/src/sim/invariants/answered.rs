//! Answered calls are not lost: a phone that was told of its answer gets answers. What the phones
//! complain of by themselves is judged where they do; this is about what they waited for in vain.

use super::super::phone::{End, Phone, Stage};
use super::super::plan::{Budget, Plan};

/// Looks at a phone when the run is over.
pub(in crate::sim) fn was_served(phone: &Phone, plan: &Plan) -> Option<String> {
    match phone.stage {
        Stage::Inviting | Stage::Up => return Some(format!("stuck: {:?}", phone.stage)),
        Stage::Waiting | Stage::Down | Stage::Unanswered => {}
    }
    let calm = plan.loss == 0 && !plan.crashes() && plan.budget == Budget::Within;
    if !calm {
        return None;
    }
    // A node that stood still until membership gave it up goes on under a new name; a call that
    // was ringing there may be left without its answer. Nothing was promised yet.
    let unanswered = phone.stage == Stage::Unanswered && phone.end != End::Cancel;
    if unanswered && !plan.may_rename() {
        return Some("never answered".to_owned());
    }
    let byes = phone.server_byes();
    (byes > 1 && !plan.may_rename()).then(|| format!("{byes} BYEs"))
}
