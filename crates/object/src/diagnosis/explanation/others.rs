//! Everything but verdicts of a verifier.

use super::Explanation;

/// The rows, in the order of the codes.
pub(super) const ROWS: &[Explanation] = &[];
