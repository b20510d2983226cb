//! Placeholder of the view, replaced by membership's branch.
/// The members.
#[derive(Clone, Debug)]
pub struct View;
