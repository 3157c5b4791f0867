//! The bpf(2) calls that libbpf-rs does not have, or has with a fault: link creation with flags, link update by
//! descriptor, batched reading of hash maps, `BPF_PROG_TEST_RUN` in a loop.

#![expect(unsafe_code, reason = "system calls take pointers")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

mod walk;
pub use walk::{BATCH, Walk};

fn check(ret: i32) -> io::Result<i32> {
    if ret < 0 { Err(io::Error::from_raw_os_error(-ret)) } else { Ok(ret) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Add an element to a map of which `key` and `value` have the sizes; an error if it is there. libbpf-rs loses the number of
/// the error, which tells a full map from a fault.
pub fn insert(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let flags = libbpf_sys::BPF_NOEXIST.into();
    // SAFETY: both are read for as long as the map says; Table has checked that its types are.
    check(unsafe {
        libbpf_sys::bpf_map_update_elem(map.as_raw_fd(), key.as_ptr().cast(), value.as_ptr().cast(), flags)
    })
    .map(drop)
}

/// Attach an XDP program to an interface with `XDP_FLAGS_*`; the link lives as long as the descriptor or its pin.
pub fn link_xdp(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero options struct is valid; `sz` says how much of it there is.
    let mut options: libbpf_sys::bpf_link_create_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options) as u64;
    options.flags = flags;
    let target = i32::try_from(ifindex).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is borrowed for the call and the options outlive it.
    let fd = check(unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), target, libbpf_sys::BPF_XDP, &options) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Put another program behind a link; packets see the old one or the new one, never none.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are borrowed for the call; null options are allowed.
    check(unsafe { libbpf_sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) }).map(drop)
}

/// A program's name, cut to 15 bytes by the kernel, and the ids of the maps that it uses.
pub fn program_facts(program: BorrowedFd<'_>) -> io::Result<(String, Vec<u32>)> {
    let mut ids = vec![0u32; 256];
    // SAFETY: plain data for the kernel to fill.
    let mut info: libbpf_sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    info.nr_map_ids = u32::try_from(ids.len()).expect("a few");
    info.map_ids = ids.as_mut_ptr() as u64;
    let mut len = size_of_val(&info) as u32;
    // SAFETY: `info` is as long as `len` says, `ids` as `nr_map_ids`; both outlive the call.
    check(unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut len) })?;
    ids.truncate(info.nr_map_ids as usize);
    let name = info.name.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect::<Vec<_>>();
    Ok((String::from_utf8_lossy(&name).into_owned(), ids))
}

/// The id of a map.
pub fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: plain data for the kernel to fill.
    let mut info: libbpf_sys::bpf_map_info = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&info) as u32;
    // SAFETY: `info` is as long as `len` says.
    check(unsafe { libbpf_sys::bpf_map_get_info_by_fd(map.as_raw_fd(), &mut info, &mut len) })?;
    Ok(info.id)
}

/// What an XDP link is attached to; 0 once the interface is gone.
pub fn link_ifindex(link: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: plain data for the kernel to fill.
    let mut info: libbpf_sys::bpf_link_info = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&info) as u32;
    // SAFETY: `info` is as long as `len` says.
    check(unsafe { libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &mut info, &mut len) })?;
    // SAFETY: the union's xdp member is a plain integer; any bytes are a value.
    Ok(unsafe { info.__bindgen_anon_1.xdp.ifindex })
}

/// Is the program on this interface attached in native mode?
pub fn is_native(ifindex: u32) -> io::Result<bool> {
    // SAFETY: an all-zero options struct is valid; `sz` says how much of it there is.
    let mut options: libbpf_sys::bpf_xdp_query_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options) as u64;
    let target = i32::try_from(ifindex).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the options outlive the call.
    check(unsafe { libbpf_sys::bpf_xdp_query(target, 0, &mut options) })?;
    Ok(u32::from(options.attach_mode) == libbpf_sys::XDP_ATTACHED_DRV)
}

/// Open a pinned object.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: a valid C string.
    let fd = check(unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) })?;
    // SAFETY: ours since this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pin an object.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a borrowed descriptor and a valid C string.
    check(unsafe { libbpf_sys::bpf_obj_pin(object.as_raw_fd(), path.as_ptr()) }).map(drop)
}

/// Attach an iterator program to the elements of a map; [`iterate`] runs it. It is gone with its descriptor.
pub fn link_iterator(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: plain data; all zero is valid.
    let (mut over, mut options): (libbpf_sys::bpf_iter_link_info, libbpf_sys::bpf_link_create_opts) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    over.map.map_fd = map.as_raw_fd().cast_unsigned();
    options.sz = size_of_val(&options) as libbpf_sys::size_t;
    options.iter_info = &mut over;
    options.iter_info_len = u32::try_from(size_of_val(&over)).expect("a few words");
    // SAFETY: both descriptors are borrowed for the call, the options outlive it.
    let fd = check(unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, libbpf_sys::BPF_TRACE_ITER, &raw const options)
    })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One run of an iterator over all elements; what its program writes is read from the file.
pub fn iterate(link: BorrowedFd<'_>) -> io::Result<std::fs::File> {
    // SAFETY: the link is borrowed for the call.
    let fd = check(unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

/// Read a hash map with all its elements, `visit`ing (key, value). An element that is added or deleted meanwhile may be missed
/// or seen twice.
pub fn for_each(
    map: BorrowedFd<'_>,
    key_size: usize,
    value_size: usize,
    mut visit: impl FnMut(&[u8], &[u8]),
) -> io::Result<()> {
    let mut walk = Walk::new(key_size, value_size);
    while walk.go_on(map, &mut visit)? {}
    Ok(())
}

/// The values of an array's first `count` elements, one behind the other, in one call (per-CPU arrays: since Linux 5.13).
pub fn first_values(map: BorrowedFd<'_>, value_size: usize, count: u32) -> io::Result<Vec<u8>> {
    let mut next = 0u32;
    let mut keys = vec![0u32; count as usize];
    let mut values = vec![0u8; count as usize * value_size];
    let mut read = count;
    // SAFETY: the buffers hold `count` keys and values of the map's sizes, the cursor one key.
    let ret = unsafe {
        libbpf_sys::bpf_map_lookup_batch(
            map.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::from_mut(&mut next).cast(),
            keys.as_mut_ptr().cast(),
            values.as_mut_ptr().cast(),
            &mut read,
            std::ptr::null(),
        )
    };
    match check(ret) {
        // The array ends there.
        Err(e) if e.raw_os_error() != Some(libc::ENOENT) => return Err(e),
        _ => values.truncate(read as usize * value_size),
    }
    Ok(values)
}

/// A map of aligned words, mapped into our memory: stores are seen by the programs at once.
#[derive(Debug)]
pub struct MappedWords {
    start: *const std::sync::atomic::AtomicU64,
    words: usize,
}

impl MappedWords {
    /// Map all `words` of a `BPF_F_MMAPABLE` array of 64-bit values.
    pub fn new(map: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of a descriptor; the kernel checks length and permission.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                words * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { start: start.cast(), words })
        }
    }

    /// The words.
    pub fn words(&self) -> &[std::sync::atomic::AtomicU64] {
        // SAFETY: the mapping is page-aligned, `words` long and lives as long as self; all access is atomic.
        unsafe { std::slice::from_raw_parts(self.start, self.words) }
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap returned; no borrow outlives self.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.words * 8) };
    }
}

/// One run of a program over one packet: the verdict as a number, the packet afterwards, nanoseconds.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], out: &mut Vec<u8>) -> io::Result<(u32, u32)> {
    out.resize(packet.len() + 512, 0);
    // SAFETY: an all-zero options struct is valid; `sz` says how much of it there is.
    let mut options: libbpf_sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options) as u64;
    options.data_in = packet.as_ptr().cast();
    options.data_size_in = u32::try_from(packet.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    options.data_out = out.as_mut_ptr().cast();
    options.data_size_out = u32::try_from(out.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    options.repeat = 1;
    // SAFETY: input and output buffers are as long as the options say and live through the call.
    check(unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) })?;
    out.truncate(options.data_size_out as usize);
    Ok((options.retval, options.duration))
}

/// The BTF of a kernel object, to be freed with it.
pub struct KernelBtf(*mut libbpf_sys::btf);

/// A member of a struct: name, offset and size in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; a nested struct's members are named `outer.inner`.
    pub name: String,
    /// Bytes from the start of the outermost struct.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// A map's identity as the kernel tells it.
#[derive(Clone, Copy, Debug)]
pub struct MapFacts {
    /// The BTF object that describes key and value.
    pub btf_id: u32,
    /// Type of the key in it.
    pub key_type: u32,
    /// Type of the value in it.
    pub value_type: u32,
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value.
    pub value_size: usize,
    /// Capacity.
    pub max_entries: u32,
}

/// What the kernel knows about a map.
pub fn map_facts(map: BorrowedFd<'_>) -> io::Result<MapFacts> {
    // SAFETY: plain data for the kernel to fill.
    let mut info: libbpf_sys::bpf_map_info = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&info) as u32;
    // SAFETY: `info` is as long as `len` says.
    check(unsafe { libbpf_sys::bpf_map_get_info_by_fd(map.as_raw_fd(), &mut info, &mut len) })?;
    Ok(MapFacts {
        btf_id: info.btf_id,
        key_type: info.btf_key_type_id,
        value_type: info.btf_value_type_id,
        key_size: info.key_size as usize,
        value_size: info.value_size as usize,
        max_entries: info.max_entries,
    })
}

impl KernelBtf {
    /// Load by id.
    pub fn load(id: u32) -> io::Result<Self> {
        // SAFETY: returns an owned object or null with errno set.
        let btf = unsafe { libbpf_sys::btf__load_from_kernel_by_id(id) };
        if btf.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(btf)) }
    }

    /// Members of the struct type `id`, nested structs flattened, in order of offset. Empty for what is no struct.
    pub fn members(&self, id: u32) -> Vec<Member> {
        let mut members = Vec::new();
        self.flatten(id, "", 0, 0, &mut members);
        members
    }

    fn flatten(&self, id: u32, prefix: &str, base: usize, depth: u32, members: &mut Vec<Member>) {
        const DEPTH_MAX: u32 = 8; // no struct of ours nests deeper than two
        // SAFETY: resolves typedefs and qualifiers of a type of this BTF; ids out of range give null below.
        let kind = unsafe {
            let id = libbpf_sys::btf__resolve_type(self.0, id);
            u32::try_from(id).map_or(std::ptr::null(), |id| libbpf_sys::btf__type_by_id(self.0, id))
        };
        if kind.is_null() || depth > DEPTH_MAX {
            return;
        }
        // SAFETY: a type that BTF returned; it lives as long as self.
        let (info, _) = unsafe { ((*kind).info, ()) };
        const ARRAY: u32 = 3;
        const STRUCT: u32 = 4;
        let kind_of = (info >> 24) & 0x1f;
        if kind_of == ARRAY {
            self.flatten_array(kind, prefix, base, depth, members);
            return;
        }
        if kind_of != STRUCT {
            return;
        }
        let count = (info & 0xffff) as usize;
        // SAFETY: a struct type is followed by its `vlen` members (BTF format, Documentation/bpf/btf.rst 2.2.5).
        let list = unsafe { std::slice::from_raw_parts(kind.add(1).cast::<libbpf_sys::btf_member>(), count) };
        for member in list {
            // SAFETY: a name offset of this BTF; the string lives as long as self.
            let name = unsafe { std::ffi::CStr::from_ptr(libbpf_sys::btf__name_by_offset(self.0, member.name_off)) };
            let name = format!("{prefix}{}", name.to_string_lossy());
            let offset = base + (member.offset & 0x00ff_ffff) as usize / 8;
            // SAFETY: a type id of this BTF.
            let size = unsafe { libbpf_sys::btf__resolve_size(self.0, member.type_) };
            let before = members.len();
            self.flatten(member.type_, &format!("{name}."), offset, depth + 1, members);
            if members.len() == before {
                members.push(Member { name, offset, size: usize::try_from(size).unwrap_or(0) });
            }
        }
    }
}

impl KernelBtf {
    /// Elements of an array of structs are members too, named by their index; an array of integers is one member.
    fn flatten_array(
        &self,
        kind: *const libbpf_sys::btf_type,
        prefix: &str,
        base: usize,
        depth: u32,
        members: &mut Vec<Member>,
    ) {
        // SAFETY: an array type is followed by its description (BTF format, Documentation/bpf/btf.rst 2.2.3).
        let array = unsafe { &*kind.add(1).cast::<libbpf_sys::btf_array>() };
        // SAFETY: a type id of this BTF.
        let size = unsafe { libbpf_sys::btf__resolve_size(self.0, array.type_) };
        for n in 0..array.nelems as usize {
            let offset = base + n * usize::try_from(size).unwrap_or(0);
            self.flatten(array.type_, &format!("{prefix}{n}."), offset, depth + 1, members);
        }
    }
}

impl Drop for KernelBtf {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { libbpf_sys::btf__free(self.0) };
    }
}
