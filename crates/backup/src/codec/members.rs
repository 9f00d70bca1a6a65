//! A writer that cuts its input into members and compresses them on all cores, keeping their order.
//!
//! Memory is bounded: at most [`QUEUE`] members for each worker are under way; a full queue makes the writer wait for
//! its oldest member. Input of a single member, as a small project's, starts no thread.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Plain bytes in each member but the last.
pub(super) const MEMBER_BYTES: usize = 1 << 20;

/// Members under way for each worker: one being compressed, one waiting.
const QUEUE: usize = 2;

/// Compresses one member.
pub(super) type Compress = Box<dyn Fn(&[u8]) -> io::Result<Vec<u8>> + Send + Sync>;

/// Compresses what is written to it. Dropped without [`MemberWriter::finish`], it leaves the sink with a prefix.
pub(crate) struct MemberWriter<W: Write> {
    sink: W,
    plain: Vec<u8>,
    compress: Arc<Compress>,
    pool: Option<Pool>,
    empty: bool,
}

impl<W: Write> MemberWriter<W> {
    pub(super) fn new(sink: W, compress: Compress) -> Self {
        Self { sink, plain: Vec::new(), compress: Arc::new(compress), pool: None, empty: true }
    }

    /// Compresses the rest, waits for what is under way and gives the sink back. Empty input makes one empty member.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(mut pool) = self.pool.take() {
            while let Some(member) = pool.take_oldest() {
                self.sink.write_all(&member?)?;
            }
        }
        if self.empty || !self.plain.is_empty() {
            self.sink.write_all(&(self.compress)(&self.plain)?)?;
        }
        Ok(self.sink)
    }

    fn submit_member(&mut self) -> io::Result<()> {
        let plain = std::mem::replace(&mut self.plain, Vec::with_capacity(MEMBER_BYTES));
        self.empty = false;
        let pool = self.pool.get_or_insert_with(|| Pool::start(&self.compress));
        if pool.is_full()
            && let Some(member) = pool.take_oldest()
        {
            self.sink.write_all(&member?)?;
        }
        pool.submit(plain)
    }
}

impl<W: Write> Write for MemberWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MEMBER_BYTES - self.plain.len());
        self.plain.extend_from_slice(&bytes[..count]);
        if self.plain.len() == MEMBER_BYTES {
            self.submit_member()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Compressed = io::Result<Vec<u8>>;

/// Worker threads and the members they are at, oldest first. Dropped, the workers end with the queue.
struct Pool {
    jobs: SyncSender<(Vec<u8>, SyncSender<Compressed>)>,
    under_way: VecDeque<Receiver<Compressed>>,
    capacity: usize,
}

impl Pool {
    fn start(compress: &Arc<Compress>) -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let capacity = workers * QUEUE;
        let (jobs, queue) = mpsc::sync_channel::<(Vec<u8>, SyncSender<Compressed>)>(capacity);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..workers {
            let (queue, compress) = (Arc::clone(&queue), Arc::clone(compress));
            thread::spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((plain, result)) = job else { return };
                    // The receiver is gone only if the writer was dropped: then nobody wants the member.
                    let _ = result.send(compress(&plain));
                }
            });
        }
        Self { jobs, under_way: VecDeque::new(), capacity }
    }

    fn is_full(&self) -> bool {
        self.under_way.len() >= self.capacity
    }

    fn submit(&mut self, plain: Vec<u8>) -> io::Result<()> {
        let (result, compressed) = mpsc::sync_channel(1);
        self.jobs.send((plain, result)).map_err(|_| worker_died())?;
        self.under_way.push_back(compressed);
        Ok(())
    }

    fn take_oldest(&mut self) -> Option<Compressed> {
        let oldest = self.under_way.pop_front()?;
        Some(oldest.recv().unwrap_or_else(|_| Err(worker_died())))
    }
}

fn worker_died() -> io::Error {
    io::Error::other("a compression thread died")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_size() {
        let compress: Compress = Box::new(|plain| Ok(format!("{}:{} ", plain[0], plain.len()).into_bytes()));
        let mut writer = MemberWriter::new(Vec::new(), compress);
        for n in 0..20 {
            writer.write_all(&vec![n; MEMBER_BYTES]).unwrap();
        }
        writer.write_all(&[99]).unwrap();
        let whole = (0..20).map(|n| format!("{n}:{MEMBER_BYTES} "));
        let expected = whole.chain(["99:1 ".into()]).collect::<Vec<_>>().concat();
        assert_eq!(String::from_utf8(writer.finish().unwrap()).unwrap(), expected);
    }

    #[test]
    fn an_error_in_a_worker_reaches_the_writer() {
        let compress: Compress = Box::new(|_| Err(io::Error::other("no")));
        let mut writer = MemberWriter::new(Vec::new(), compress);
        let written = writer.write_all(&vec![0; MEMBER_BYTES]).and_then(|()| writer.finish());
        assert_eq!(written.unwrap_err().to_string(), "no");
    }
}
