//! Mutations of samples, the same in every run. The tests of the fuzzing functions use them, here and in `xtask`.

use fastrand::Rng;

/// Calls `is_taken` with each of the samples, which it must accept, then with `count` mutations of them; it must accept
/// some of those and refuse some. `words` are words of the format.
pub fn mutations(samples: &[&[u8]], words: &[&str], count: usize, is_taken: impl Fn(&[u8]) -> bool) {
    assert!(samples.iter().all(|sample| is_taken(sample)));
    let mut random = Rng::with_seed(5);
    let mut taken = 0;
    for _ in 0..count {
        let mut bytes = samples[random.usize(..samples.len())].to_vec();
        for _ in 0..random.usize(1..=4) {
            mutate(&mut random, &mut bytes, samples, words);
        }
        taken += usize::from(is_taken(&bytes));
    }
    assert!((count / 100..count - count / 100).contains(&taken), "{taken} of {count} are taken");
}

/// Makes one random change.
fn mutate(random: &mut Rng, bytes: &mut Vec<u8>, samples: &[&[u8]], words: &[&str]) {
    let at = random.usize(..=bytes.len());
    let end = (at + random.usize(..=64)).min(bytes.len());
    match random.u8(..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = [0, b'\n', 0x1b, b'"', b'9', 0x7f, 0xff][random.usize(..7)],
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].repeat(random.usize(1..=40));
            drop(bytes.splice(at..at, again));
        }
        4 if !words.is_empty() => drop(bytes.splice(at..end, words[random.usize(..words.len())].bytes())),
        5 => {
            let other = samples[random.usize(..samples.len())];
            let from = random.usize(..=other.len());
            drop(bytes.splice(at.., other[from..].iter().copied()));
        }
        _ => bytes.truncate(at),
    }
}
