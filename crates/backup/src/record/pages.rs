//! Digests of the pages of a database image. A list of them proves an image, and is kept up to date in proportion to
//! what changed.
//!
//! A page's digest is the first 16 bytes of its BLAKE3 hash (<https://github.com/BLAKE3-team/BLAKE3-specs>); the digest of
//! a list is the BLAKE3 hash of all of them, one after another.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::record::digest::{hex, unhex};

/// The digest of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageDigest([u8; Self::BYTES]);

impl PageDigest {
    /// Bytes of a digest.
    pub const BYTES: usize = 16;

    /// The digest of a page with these bytes.
    pub fn of(page: &[u8]) -> Self {
        let mut digest = [0; Self::BYTES];
        digest.copy_from_slice(&blake3::hash(page).as_bytes()[..Self::BYTES]);
        Self(digest)
    }
}

/// The digests of all pages of an image, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageList(Vec<[u8; PageDigest::BYTES]>);

impl PageList {
    /// How many pages the image has.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The digest of a page; pages count from 1. `None` if the image has no such page.
    pub fn get(&self, number: u64) -> Option<PageDigest> {
        self.0.get(index(number)?).copied().map(PageDigest)
    }

    /// Changes the digest of a page, or adds that of the page after the last one.
    ///
    /// # Panics
    /// If a page between the last one and this one is missing, or `number` is 0.
    pub fn set(&mut self, number: u64, digest: PageDigest) {
        let at = index(number).expect("pages count from 1");
        if at == self.0.len() {
            self.0.push(digest.0);
        } else {
            self.0[at] = digest.0;
        }
    }

    /// Drops the pages after this many.
    pub fn truncate(&mut self, count: u64) {
        self.0.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// The digest of the list.
    pub fn digest(&self) -> PagesDigest {
        PagesDigest(blake3::hash(self.as_bytes()).into())
    }

    /// All digests, one after another.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// The list with these digests, one after another; `None` if a part of one is left over.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (digests, rest) = bytes.as_chunks();
        rest.is_empty().then(|| Self(digests.to_vec()))
    }
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

/// The digest of a [`PageList`]; text form is 64 lower-case hex digits, as `b3sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PagesDigest([u8; 32]);

impl fmt::Display for PagesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PagesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<PagesDigest> for String {
    fn from(digest: PagesDigest) -> Self {
        hex(&digest.0)
    }
}

impl TryFrom<String> for PagesDigest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        unhex(&text).map(Self).ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a BLAKE3 digest is 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_follows_its_image() {
        let [one, two, other] = [[1; 512], [2; 512], [3; 512]].map(|page| PageDigest::of(&page));
        let mut list = PageList::default();
        list.set(1, one);
        list.set(2, two);
        let before = list.digest();
        list.set(2, other);
        assert_eq!((list.len(), list.get(2), list.get(3), list.get(0)), (2, Some(other), None, None));
        assert_ne!(list.digest(), before);
        list.set(3, two);
        list.truncate(2);
        list.set(2, two);
        assert_eq!((list.digest(), PageList::from_bytes(list.as_bytes())), (before, Some(list.clone())));
        assert_eq!(PageList::from_bytes(&list.as_bytes()[1..]), None);
    }

    #[test]
    fn digests_are_those_of_the_specification() {
        // The test vector for an empty input.
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(PageList::default().digest().to_string(), empty);
        assert_eq!(PagesDigest::try_from(empty.to_string()).unwrap(), PageList::default().digest());
        assert!(PagesDigest::try_from(empty[1..].to_string()).is_err());
    }
}
