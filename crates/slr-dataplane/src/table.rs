//! Maps with types: keys and values of `abi.h` instead of bytes.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::path::Path;

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle};
use thiserror::Error;

use crate::abi::Pod;
use crate::object::{LoadError, Loaded};
use crate::sys;

mod walk;

pub use walk::{Part, Walk};

/// A table could not be read or written.
#[derive(Debug, Error)]
#[error("table {table}: {action}: {source}")]
pub struct MapError {
    /// Its name.
    pub table: &'static str,
    /// What was being done.
    pub action: &'static str,
    /// Why it failed.
    pub source: io::Error,
}

/// A map of `K` to `V`.
pub struct Table<K, V> {
    map: MapHandle,
    name: &'static str,
    types: PhantomData<(K, V)>,
}

pub(crate) fn io_error(e: libbpf_rs::Error) -> io::Error {
    match e.kind() {
        ErrorKind::NotFound => io::Error::from_raw_os_error(libc::ENOENT),
        _ => io::Error::other(e.to_string()),
    }
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// The map of this name. Its sizes were checked by the loader: the object and these types have one source.
    pub fn open(loaded: &Loaded, name: &'static str) -> Result<Self, LoadError> {
        let map = loaded.map(name)?;
        assert_eq!(map.key_size() as usize, size_of::<K>(), "{name}: abi.h is the source of both");
        assert_eq!(map.value_size() as usize, size_of::<V>(), "{name}: abi.h is the source of both");
        Ok(Self { map, name, types: PhantomData })
    }

    /// The map that another process has pinned.
    pub fn pinned(path: &Path, name: &'static str) -> Result<Self, MapError> {
        let failed = |source| MapError { table: name, action: "open", source };
        let map = MapHandle::from_pinned_path(path).map_err(|e| failed(io_error(e)))?;
        if (map.key_size() as usize, map.value_size() as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(failed(io::Error::other("it is of another version")));
        }
        Ok(Self { map, name, types: PhantomData })
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> MapError {
        let table = self.name;
        move |source| MapError { table, action, source }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Result<Option<V>, MapError> {
        let mut value = V::default();
        match self.map.lookup_into(key.bytes(), value.bytes_mut(), MapFlags::ANY) {
            Ok(found) => Ok(found.then_some(value)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed("read")(io_error(e))),
        }
    }

    /// Write, whether there was a value or not.
    pub fn put(&self, key: &K, value: &V) -> Result<(), MapError> {
        self.map.update(key.bytes(), value.bytes(), MapFlags::ANY).map_err(|e| self.failed("write")(io_error(e)))
    }

    /// Write unless the key has a value; false if it had one. A table without room says E2BIG.
    pub fn put_new(&self, key: &K, value: &V) -> Result<bool, MapError> {
        match sys::insert(self.map.as_fd(), key.bytes(), value.bytes()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(self.failed("write")(e)),
        }
    }

    /// Remove; false if there was nothing.
    pub fn remove(&self, key: &K) -> Result<bool, MapError> {
        match self.map.delete(key.bytes()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.failed("delete")(io_error(e))),
        }
    }

    /// Remove what still is as `unwanted` says when it is read again; false if there was nothing of the kind.
    pub fn remove_if(&self, key: &K, unwanted: impl Fn(&V) -> bool) -> Result<bool, MapError> {
        match self.get(key)? {
            Some(value) if unwanted(&value) => self.remove(key),
            _ => Ok(false),
        }
    }

    /// Visit every element of a hash or trie. What is added or removed meanwhile, by the visitor too, may be missed.
    pub fn for_each(&self, mut visit: impl FnMut(K, V)) -> Result<(), MapError> {
        sys::for_each(self.map.as_fd(), size_of::<K>(), size_of::<V>(), |key, value| {
            visit(K::from_bytes(key).expect("sized by the map"), V::from_bytes(value).expect("sized by the map"));
        })
        .map_err(self.failed("read all"))
    }

    /// Every element of a hash or trie that is known to be small.
    pub fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        let mut all = Vec::new();
        self.for_each(|key, value| all.push((key, value)))?;
        Ok(all)
    }

    /// Capacity.
    pub fn capacity(&self) -> u32 {
        self.map.max_entries()
    }

    /// The untyped map.
    pub fn handle(&self) -> &MapHandle {
        &self.map
    }
}

/// A per-CPU array of counters.
pub struct PerCpu<V> {
    map: MapHandle,
    name: &'static str,
    types: PhantomData<V>,
}

impl<V: Pod> PerCpu<V> {
    /// The map of this name.
    pub fn open(loaded: &Loaded, name: &'static str) -> Result<Self, LoadError> {
        Ok(Self { map: loaded.map(name)?, name, types: PhantomData })
    }

    /// The map that another process has pinned.
    pub fn pinned(path: &Path, name: &'static str) -> Result<Self, MapError> {
        let failed = |e| MapError { table: name, action: "open", source: io_error(e) };
        Ok(Self { map: MapHandle::from_pinned_path(path).map_err(failed)?, name, types: PhantomData })
    }

    /// Visit the values of all CPUs at the indexes below `count`, in one call of the kernel.
    pub fn for_first(&self, count: u32, mut visit: impl FnMut(&[V])) -> Result<(), MapError> {
        let cpus = self.cpus()?;
        let each = size_of::<V>().next_multiple_of(8);
        let values = sys::first_values(self.map.as_fd(), each * cpus, count).map_err(|source| MapError {
            table: self.name,
            action: "read all",
            source,
        })?;
        let mut parts = Vec::with_capacity(cpus);
        for element in values.chunks_exact(each * cpus) {
            parts.clear();
            parts.extend(element.chunks_exact(each).filter_map(|bytes| V::from_bytes(&bytes[..size_of::<V>()])));
            visit(&parts);
        }
        Ok(())
    }

    fn cpus(&self) -> Result<usize, MapError> {
        libbpf_rs::num_possible_cpus().map_err(|e| MapError {
            table: self.name,
            action: "count CPUs",
            source: io_error(e),
        })
    }

    /// The values of all CPUs at `index`.
    pub fn get(&self, index: u32) -> Result<Vec<V>, MapError> {
        let values = self.map.lookup_percpu(index.bytes(), MapFlags::ANY).map_err(|e| MapError {
            table: self.name,
            action: "read",
            source: io_error(e),
        })?;
        Ok(values.unwrap_or_default().iter().filter_map(|bytes| V::from_bytes(bytes.get(..size_of::<V>())?)).collect())
    }

    /// Set the value of every CPU at `index` to nothing.
    pub fn clear(&self, index: u32) -> Result<(), MapError> {
        let cpus = self.cpus()?;
        let zeros = vec![vec![0u8; size_of::<V>().next_multiple_of(8)]; cpus];
        self.map.update_percpu(index.bytes(), &zeros, MapFlags::ANY).map_err(|e| MapError {
            table: self.name,
            action: "clear",
            source: io_error(e),
        })
    }
}
