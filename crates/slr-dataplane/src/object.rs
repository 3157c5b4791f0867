//! A program object: opened from the bytes compiled in, its tables sized, pinned or taken over from pins, loaded.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::{MapCore, MapHandle, Object, ObjectBuilder, OpenProgramMut};
use thiserror::Error;

use crate::sys;

/// Why an object could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel or libbpf refused.
    #[error("{object}: {step}: {source} (as root? kernel 5.15 or later? `dmesg` and SLR_LOG=libbpf=debug say more)")]
    Bpf {
        /// The object.
        object: &'static str,
        /// What was being done.
        step: String,
        /// Why not.
        source: libbpf_rs::Error,
    },
    /// The pin directory cannot be used.
    #[error("pin directory {}: {source}; it must be on a bpffs (`mount -t bpf bpf /sys/fs/bpf`)", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The object lacks a part that the code expects.
    #[error("{object} has no {part}: the build is broken")]
    Missing {
        /// The object.
        object: &'static str,
        /// The map or program.
        part: String,
    },
}

/// A loaded object with its maps by name.
pub struct Loaded {
    object: Object,
    name: &'static str,
    maps: Vec<(String, MapHandle)>,
}

/// What to load.
pub struct Spec<'a> {
    /// For messages.
    pub name: &'static str,
    /// The ELF object.
    pub bytes: &'a [u8],
    /// Capacity of maps that differ from what the source says.
    pub capacities: &'a [(&'a str, u32)],
    /// Directory of pinned maps: those that exist are taken over, the others are created and pinned. `None`: no pins.
    pub pins: Option<&'a Path>,
}

/// Maps that belong to one program instance and are never pinned: constants and the like.
fn is_private(map: &str) -> bool {
    map.contains('.')
}

/// Maps of the programs that capture: made with these, for as long as somebody captures (`bpf/capture.h`).
pub(crate) fn is_of_capture(map: &str) -> bool {
    map.starts_with("capture") || map.ends_with(".capture")
}

/// Is this program loaded by [`Loaded::beside`] alone?
fn is_capture(program: &OpenProgramMut<'_>) -> bool {
    program.name().to_string_lossy().ends_with("_capture")
}

impl Loaded {
    /// Open, size, take over, load, pin.
    pub fn load(spec: &Spec<'_>) -> Result<Self, LoadError> {
        let failed = |step: String| move |source| LoadError::Bpf { object: spec.name, step, source };
        let mut open = ObjectBuilder::default().open_memory(spec.bytes).map_err(failed("cannot be opened".into()))?;
        for mut program in open.progs_mut().filter(is_capture) {
            program.set_autoload(false);
        }
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if is_of_capture(&name) {
                map.set_autocreate(false).map_err(failed(format!("map {name} cannot be left out")))?;
                continue;
            }
            if let Some((_, capacity)) = spec.capacities.iter().find(|(of, _)| *of == name) {
                map.set_max_entries(*capacity).map_err(failed(format!("map {name} cannot hold {capacity} entries")))?;
            }
            if let Some(path) = spec.pins.map(|dir| dir.join(&name)).filter(|path| !is_private(&name) && path.exists())
            {
                // The pinned map keeps its capacity: a table that is in use cannot grow.
                let facts = sys::open_pin(&path)
                    .and_then(|fd| sys::map_facts(fd.as_fd()))
                    .map_err(|source| LoadError::Pin { path: path.clone(), source })?;
                map.set_max_entries(facts.max_entries).map_err(failed(format!("map {name}")))?;
                map.reuse_pinned_map(&path).map_err(failed(format!("map {name} cannot be taken over")))?;
            }
        }
        let mut object = open.load().map_err(failed("cannot be loaded".into()))?;
        let mut maps = Vec::new();
        for mut map in object.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if is_of_capture(&name) {
                continue;
            }
            if let Some(path) = spec.pins.map(|dir| dir.join(&name)).filter(|path| !is_private(&name) && !path.exists())
            {
                fs::create_dir_all(path.parent().expect("a file has a folder"))
                    .map_err(|source| LoadError::Pin { path: path.clone(), source })?;
                map.pin(&path).map_err(failed(format!("map {name} cannot be pinned at {}", path.display())))?;
            }
            maps.push((name.clone(), MapHandle::try_from(&map).map_err(failed(format!("map {name}")))?));
        }
        Ok(Self { object, name: spec.name, maps })
    }

    /// One program of an object that is loaded already, over its tables, which `table` has; with the maps of captures, its own.
    pub fn beside(
        object_name: &'static str,
        bytes: &[u8],
        program: &str,
        table: impl Fn(&str) -> Result<OwnedFd, LoadError>,
    ) -> Result<Self, LoadError> {
        let failed = |step: String| move |source| LoadError::Bpf { object: object_name, step, source };
        let mut open = ObjectBuilder::default().open_memory(bytes).map_err(failed("cannot be opened".into()))?;
        for mut other in open.progs_mut().filter(|other| other.name() != program) {
            other.set_autoload(false);
        }
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if !is_private(&name) && !is_of_capture(&name) {
                map.reuse_fd(table(&name)?.as_fd()).map_err(failed(format!("map {name} cannot be shared")))?;
            }
        }
        let object = open.load().map_err(failed(format!("{program} cannot be loaded")))?;
        let handle = |map: libbpf_rs::Map<'_>| {
            let name = map.name().to_string_lossy().into_owned();
            Ok((name.clone(), MapHandle::try_from(&map).map_err(failed(format!("map {name}")))?))
        };
        let maps = object.maps().map(handle).collect::<Result<_, LoadError>>()?;
        Ok(Self { object, name: object_name, maps })
    }

    /// Descriptor of a program.
    pub fn program(&self, name: &str) -> Result<BorrowedFd<'_>, LoadError> {
        // The descriptor is owned by the object, which self keeps; `Program` is only a view.
        let found = self.object.progs().find(|program| program.name() == name);
        found.map(|program| borrow_for(&self.object, &program)).ok_or_else(|| self.missing(name))
    }

    /// A handle of a map, of its own lifetime.
    pub fn map(&self, name: &str) -> Result<MapHandle, LoadError> {
        let (_, map) = self.maps.iter().find(|(of, _)| of == name).ok_or_else(|| self.missing(name))?;
        MapHandle::try_from(map).map_err(|source| LoadError::Bpf {
            object: self.name,
            step: format!("map {name}"),
            source,
        })
    }

    /// Names of all maps that may be pinned.
    pub fn shared_maps(&self) -> impl Iterator<Item = &str> {
        self.maps.iter().map(|(name, _)| name.as_str()).filter(|name| !is_private(name))
    }

    fn missing(&self, part: &str) -> LoadError {
        LoadError::Missing { object: self.name, part: part.to_owned() }
    }
}

#[expect(unsafe_code, reason = "libbpf-rs ties the descriptor's lifetime to the view instead of the object")]
fn borrow_for<'a>(_object: &'a Object, program: &libbpf_rs::Program<'_>) -> BorrowedFd<'a> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor belongs to the object and is closed when the object is; 'a borrows the object.
    unsafe { BorrowedFd::borrow_raw(program.as_fd().as_raw_fd()) }
}

/// A second descriptor of the same map.
pub fn duplicate(map: &MapHandle) -> io::Result<OwnedFd> {
    map.as_fd().try_clone_to_owned()
}

/// Key and value sizes of a map, as the kernel has them.
pub fn sizes(map: &MapHandle) -> (usize, usize) {
    (map.key_size() as usize, map.value_size() as usize)
}
