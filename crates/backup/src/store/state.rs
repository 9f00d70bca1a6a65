//! What a run leaves for the next one, in `.state`. It can be lost, but it is never half there: a file is written under
//! another name, then renamed. It isn't synced, since whoever reads it proves it first.

use std::io::{self, Read as _, Write as _};

use rustix::fs::OFlags;

use crate::disk::folder::Folder;

const STATE: &str = ".state";

/// The name of a file that is being written; no other begins so.
const NEW: &str = ".new";

/// Reads a file; `None` if there is none, or it has more than `most` bytes.
pub(super) fn read(store: &Folder, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match store.folder(STATE).and_then(|folder| folder.read(name)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut content = Vec::new();
    (&file).take(most.saturating_add(1)).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= most).then_some(content))
}

/// Replaces the content of a file, or makes a new one.
pub(super) fn write(store: &Folder, name: &str, content: &[u8]) -> io::Result<()> {
    store.make_folder(STATE)?;
    store.inherit_owner(STATE);
    let folder = store.folder(STATE)?;
    folder.remove_file(NEW)?;
    let mut file = folder.open_file(NEW, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    folder.inherit_owner(NEW);
    file.write_all(content)?;
    folder.rename(NEW, &folder, name)
}
