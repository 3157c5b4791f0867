//! The cache of flows that have not shown two ends, as `bpf/pending.h` has it, in our own memory: who is to be forgotten
//! loses one word, and what the program writes into the same set meanwhile stays.

use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::MapCore;

use super::flow_key::Key;
use crate::abi::{flow, pending_head, pending_set_v4, pending_set_v6, slr_const};
use crate::object::{LoadError, Loaded};
use crate::sys::MappedWords;

/// A family's cache.
pub struct Pending<K> {
    words: MappedWords,
    sets: u32,
    keys: PhantomData<K>,
}

/// Where things are in a set, in words of 8 bytes.
const WORD: usize = 8;
const WAYS: usize = slr_const::SLR_PENDING_WAYS.0 as usize;
const PATH: usize = std::mem::offset_of!(pending_head, path) / WORD;
const SEEN: usize = std::mem::offset_of!(pending_head, seen) / WORD;
const KEY: usize = size_of::<pending_head>() / WORD;
const _: () = assert!(std::mem::offset_of!(pending_set_v4, key) == KEY * WORD, "keys follow the head");
const _: () = assert!(std::mem::offset_of!(pending_set_v6, key) == KEY * WORD, "keys follow the head");

/// A path in the words of a flow.
fn flow_of_path(path: u64, seen: u32) -> flow {
    let lane = |n: u32| (path >> (16 * n)) as u16;
    flow { hop: lane(0), hop_gen: lane(1), subnet: lane(2), entropy: lane(3), seen, ..flow::default() }
}

impl<K: Key> Pending<K> {
    const KEY_WORDS: usize = size_of::<K>() / WORD;
    const SET_WORDS: usize = KEY + WAYS * Self::KEY_WORDS;

    /// The map of this name.
    pub fn open(loaded: &Loaded, name: &'static str) -> Result<Self, LoadError> {
        let map = loaded.map(name)?;
        assert_eq!(map.value_size() as usize, Self::SET_WORDS * WORD, "{name}: abi.h is the source of both");
        let sets = map.max_entries();
        let words = MappedWords::new(map.as_fd(), sets as usize * Self::SET_WORDS)
            .map_err(|source| LoadError::Pin { path: name.into(), source })?;
        Ok(Self { words, sets, keys: PhantomData })
    }

    /// Number of sets.
    pub fn sets(&self) -> u32 {
        self.sets
    }

    /// Number of flows that fit.
    pub fn capacity(&self) -> u64 {
        u64::from(self.sets) * WAYS as u64
    }

    /// The flow of this key, by the hash of all its fields. One that the program is writing at this moment may be missed.
    pub fn find(&self, key: &K, hash: u64) -> Option<flow> {
        let set = ((u64::from((hash >> 16) as u32) * u64::from(self.sets)) >> 32) as usize;
        let set = self.words.words().get(set * Self::SET_WORDS..)?.get(..Self::SET_WORDS)?;
        (0..WAYS).find_map(|way| {
            let (path, flow) = (set[PATH + way].load(Ordering::Acquire), Self::flow_at(set, way)?);
            let is_it = Self::key_at(set, way).bytes() == key.bytes() && flow.entropy == hash as u16;
            (is_it && set[PATH + way].load(Ordering::Acquire) == path).then_some(flow)
        })
    }

    fn flow_at(set: &[AtomicU64], way: usize) -> Option<flow> {
        let path = set[PATH + way].load(Ordering::Acquire);
        let seen = set[SEEN + way / 2].load(Ordering::Relaxed).to_ne_bytes();
        let seen = u32::from_ne_bytes(seen[4 * (way % 2)..][..4].try_into().expect("four of eight"));
        (path != 0).then(|| flow_of_path(path, seen))
    }

    fn key_at(set: &[AtomicU64], way: usize) -> K {
        let mut key = K::zeroed();
        let words = &set[KEY + way * Self::KEY_WORDS..][..Self::KEY_WORDS];
        for (bytes, word) in key.bytes_mut().chunks_exact_mut(WORD).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        key
    }

    /// Visit every flow. One that the program is writing at this moment may be missed.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &flow)) {
        self.forget(|key, flow| {
            visit(key, flow);
            false
        });
    }

    /// Forget flows; returns how many.
    pub fn forget(&self, mut unwanted: impl FnMut(&K, &flow) -> bool) -> u64 {
        let mut forgotten = 0;
        for set in self.words.words().chunks_exact(Self::SET_WORDS) {
            for way in 0..WAYS {
                let path = set[PATH + way].load(Ordering::Acquire);
                let Some(flow) = Self::flow_at(set, way) else { continue };
                let key = Self::key_at(set, way);
                let at = &set[PATH + way];
                if at.load(Ordering::Acquire) == path && unwanted(&key, &flow) {
                    let done = at.compare_exchange(path, 0, Ordering::AcqRel, Ordering::Relaxed);
                    forgotten += u64::from(done.is_ok());
                }
            }
        }
        forgotten
    }
}
