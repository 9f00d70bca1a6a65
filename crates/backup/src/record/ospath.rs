//! Paths in JSON: text if they are UTF-8, otherwise an array of bytes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathForm {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Path> for PathForm {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.into()),
            None => Self::Bytes(path.as_os_str().as_bytes().into()),
        }
    }
}

impl From<PathForm> for PathBuf {
    fn from(written: PathForm) -> Self {
        match written {
            PathForm::Text(text) => text.into(),
            PathForm::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

/// For `#[serde(with = "ospath::one")]`.
pub(crate) mod one {
    use super::{Deserialize, Deserializer, Path, PathBuf, PathForm, Serialize, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        PathForm::from(path).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        PathForm::deserialize(deserializer).map(PathBuf::from)
    }
}

/// For `#[serde(with = "ospath::many")]`.
pub(crate) mod many {
    use super::{Deserialize, Deserializer, PathBuf, PathForm, Serializer};

    pub fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(|path| PathForm::from(path.as_path())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(Vec::<PathForm>::deserialize(deserializer)?.into_iter().map(PathBuf::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Paths {
        #[serde(with = "one")]
        one: PathBuf,
        #[serde(with = "many")]
        many: Vec<PathBuf>,
    }

    #[test]
    fn a_path_reads_back_whatever_its_bytes() {
        let odd = PathBuf::from(OsString::from_vec(b"/no\xfftext".into()));
        let paths = Paths { one: "/srv/a b".into(), many: vec![odd, "/data".into()] };
        let json = serde_json::to_string(&paths).unwrap();
        assert_eq!(json, r#"{"one":"/srv/a b","many":[[47,110,111,255,116,101,120,116],"/data"]}"#);
        assert_eq!(serde_json::from_str::<Paths>(&json).unwrap(), paths);
    }
}
