//! The names of codecs, in settings, manifests and file names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// How an artifact is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// The plain bytes.
    None,
}

impl Codec {
    /// What it adds to a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::None => "",
        }
    }

    /// The levels it takes, least to most effort; `None` where there is nothing to choose.
    pub fn levels(self) -> Option<std::ops::RangeInclusive<i32>> {
        match self {
            Self::Gzip => Some(1..=9),
            Self::Zstd => Some(1..=22),
            Self::None => None,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::None => "none",
        })
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Gzip, Self::Zstd, Self::None].into_iter().find(|codec| codec.to_string() == text).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("unknown codec {text:?}")).with_hint("gzip, zstd or none")
        })
    }
}
