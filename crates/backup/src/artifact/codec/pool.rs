//! Worker threads that compress or decompress members on all cores, and return them in the order they came in.
//!
//! Memory is bounded: there are at most [`WORKERS`] workers, with at most [`QUEUE`] members each. A single member, as in a
//! small project, starts no thread.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::member::Member;

/// Members for each worker: one in work, one waiting.
const QUEUE: usize = 2;

/// The most workers. Hashing is a single stream, which couldn't keep up with more.
const WORKERS: usize = 8;

/// Turns a member into another. Each worker has its own, whose tables and buffers are used again.
pub(super) type Transform = Box<dyn FnMut(&[u8]) -> io::Result<Vec<u8>> + Send>;

/// Leaves members as they are.
pub(super) fn unchanged() -> Transform {
    Box::new(|member| Ok(member.to_vec()))
}

/// Makes a worker's transform.
type NewTransform = dyn Fn() -> io::Result<Transform> + Send;

type CompressedBlock = io::Result<Vec<u8>>;

/// Members on their way through the workers, oldest first. When it is dropped, each worker ends after its current member.
pub(super) struct Pool {
    new_transform: Box<NewTransform>,
    /// The first member, as long as it is the only one.
    first: Option<Member>,
    workers: Option<Workers>,
}

impl Pool {
    /// A pool whose workers get their transforms from `new_transform`.
    pub fn new(new_transform: impl Fn() -> io::Result<Transform> + Send + 'static) -> Self {
        Self { new_transform: Box::new(new_transform), first: None, workers: None }
    }

    /// Whether the oldest member has to be taken before another can be submitted.
    pub fn is_full(&self) -> bool {
        self.workers.as_ref().is_some_and(|workers| workers.under_way.len() >= workers.capacity)
    }

    /// Hands a member in; the pool must not be full.
    pub fn submit(&mut self, member: Member) -> io::Result<()> {
        match &mut self.workers {
            Some(workers) => workers.submit(member),
            None => match self.first.replace(member) {
                None => Ok(()),
                Some(first) => {
                    let workers = self.workers.insert(Workers::start(&self.new_transform)?);
                    workers.submit(first)?;
                    self.first.take().map_or(Ok(()), |second| workers.submit(second))
                }
            },
        }
    }

    /// Waits for the oldest member; `None` if there is none.
    pub fn take_oldest(&mut self) -> Option<CompressedBlock> {
        match (self.first.take(), &mut self.workers) {
            (Some(only), _) => Some((self.new_transform)().and_then(|mut transform| transform(&only))),
            (None, Some(workers)) => workers.take_oldest(),
            (None, None) => None,
        }
    }
}

struct Workers {
    jobs: SyncSender<(Member, SyncSender<CompressedBlock>)>,
    under_way: VecDeque<Receiver<CompressedBlock>>,
    capacity: usize,
}

impl Workers {
    fn start(new_transform: &NewTransform) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
        let capacity = count * QUEUE;
        let (jobs, queue) = mpsc::sync_channel::<(Member, SyncSender<CompressedBlock>)>(capacity);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let (queue, mut transform) = (Arc::clone(&queue), new_transform()?);
            thread::Builder::new().spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((member, result)) = job else { return };
                    // The receiver is gone only if the pool was dropped, and then nobody needs the member.
                    let _ = result.send(transform(&member));
                }
            })?;
        }
        Ok(Self { jobs, under_way: VecDeque::new(), capacity })
    }

    fn submit(&mut self, member: Member) -> io::Result<()> {
        let (result, receiver) = mpsc::sync_channel(1);
        self.jobs.send((member, result)).map_err(|_| worker_died())?;
        self.under_way.push_back(receiver);
        Ok(())
    }

    fn take_oldest(&mut self) -> Option<CompressedBlock> {
        let oldest = self.under_way.pop_front()?;
        Some(oldest.recv().unwrap_or_else(|_| Err(worker_died())))
    }
}

fn worker_died() -> io::Error {
    io::Error::other("a worker thread died")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubled() -> Pool {
        Pool::new(|| Ok(Box::new(|member| Ok([member, member].concat()))))
    }

    #[test]
    fn members_come_back_in_the_order_they_went_in() {
        let mut pool = doubled();
        let mut back = Vec::new();
        for n in 0..100 {
            while pool.is_full() {
                back.extend(pool.take_oldest().unwrap().unwrap());
            }
            pool.submit(Arc::new(vec![n])).unwrap();
        }
        while let Some(member) = pool.take_oldest() {
            back.extend(member.unwrap());
        }
        let expected: Vec<u8> = (0..100).flat_map(|n| [n, n]).collect();
        assert_eq!(back, expected);
    }

    #[test]
    fn a_single_member_starts_no_thread() {
        let mut pool = doubled();
        pool.submit(Arc::new(vec![7])).unwrap();
        assert_eq!(pool.take_oldest().unwrap().unwrap(), [7, 7]);
        assert!(pool.workers.is_none() && pool.take_oldest().is_none());
    }

    #[test]
    fn an_error_and_a_panic_in_a_worker_reach_who_asks() {
        let mut pool = Pool::new(|| {
            Ok(Box::new(|member: &[u8]| match member {
                [0] => Err(io::Error::other("no")),
                _ => panic!("on purpose"),
            }))
        });
        pool.submit(Arc::new(vec![0])).unwrap();
        pool.submit(Arc::new(vec![1])).unwrap();
        assert_eq!(pool.take_oldest().unwrap().unwrap_err().to_string(), "no");
        assert_eq!(pool.take_oldest().unwrap().unwrap_err().to_string(), "a worker thread died");
    }
}
