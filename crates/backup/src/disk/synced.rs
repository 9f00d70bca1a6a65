//! A file that is on disk when it is finished, and mostly before that.

use std::fs::File;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// After this many bytes a sync begins in the background: the disk works while the next bytes are made, and the last sync
/// has little left to do.
const SYNC_EVERY: usize = 32 << 20;

/// A file that is synced as it is written.
pub(crate) struct SyncedFile {
    file: Arc<File>,
    /// Called after each sync, on the thread that synced.
    synced: fn(&File),
    /// Bytes written since the last sync began.
    unsynced: usize,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl SyncedFile {
    /// `synced` is called after each sync.
    pub fn new(file: File, synced: fn(&File)) -> Self {
        Self { file: Arc::new(file), synced, unsynced: 0, syncing: None }
    }

    /// Syncs the rest.
    ///
    /// # Errors
    /// The error of any of the syncs.
    pub fn finish(&mut self) -> io::Result<()> {
        self.wait()?;
        self.file.sync_all()?;
        (self.synced)(&self.file);
        Ok(())
    }

    /// Waits for the sync in the background. Its error must not get lost, for the kernel reports it only once.
    fn wait(&mut self) -> io::Result<()> {
        self.syncing.take().map_or(Ok(()), |syncing| syncing.join().unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl Write for SyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&*self.file).write(bytes)?;
        self.unsynced += count;
        if self.unsynced >= SYNC_EVERY && self.syncing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.wait()?;
            self.unsynced = 0;
            let (file, synced) = (Arc::clone(&self.file), self.synced);
            let sync = move || {
                file.sync_data()?;
                synced(&file);
                Ok(())
            };
            // If there is no thread to be had, the last sync does it all.
            self.syncing = thread::Builder::new().spawn(sync).ok();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_is_written_in_several_syncs_is_whole() {
        static SYNCS: AtomicUsize = AtomicUsize::new(0);
        let file = tempfile::tempfile().unwrap();
        let mut synced = SyncedFile::new(file.try_clone().unwrap(), |_| _ = SYNCS.fetch_add(1, Ordering::Relaxed));
        let piece = vec![7; SYNC_EVERY / 2 + 1];
        for _ in 0..3 {
            synced.write_all(&piece).unwrap();
        }
        synced.finish().unwrap();
        assert_eq!(SYNCS.load(Ordering::Relaxed), 2, "one on the way, one at the end");
        assert_eq!(file.metadata().unwrap().len(), 3 * piece.len() as u64);
    }

    #[test]
    fn a_sync_that_fails_is_an_error_at_the_end() {
        let (_reader, pipe) = io::pipe().unwrap();
        let mut synced = SyncedFile::new(File::from(std::os::fd::OwnedFd::from(pipe)), |_| panic!("it was not synced"));
        synced.write_all(b"a pipe can't be synced").unwrap();
        assert_eq!(synced.finish().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
