//! Members: the pieces that an artifact is cut into.

use std::sync::Arc;

/// Plain bytes in each member but the last.
pub(super) const MEMBER_BYTES: usize = 1 << 20;

/// The most stored bytes of a member that this program writes: no codec adds more to what it can't compress.
pub(super) const MOST_STORED: usize = MEMBER_BYTES + (16 << 10);

/// The bytes of a member, plain or stored. Shared, so that it can be hashed at the same time.
pub(crate) type Member = Arc<Vec<u8>>;

/// What the first bytes of a member say about its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// It has this many stored bytes, at most [`MOST_STORED`], and decodes to at most [`MEMBER_BYTES`].
    Whole(usize),
    /// More bytes are needed to tell.
    More,
    /// It doesn't say where it ends, or it is too long to be decoded at once.
    Foreign,
}
