//! `bpf/abi.h` as Rust sees it: the types that the object's BTF holds, generated at build. Nothing here is a second copy.

/// The generated skeleton; only its types are used, the object itself is loaded by [`crate::object`].
#[allow(unsafe_code, missing_docs, dead_code, clippy::all, clippy::pedantic, non_camel_case_types)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/router.skel.rs"));
}

pub use skeleton::types::{
    advert_master, advert_record, bucket, bucket_key, capture_filter, capture_record, class_key, counter, flow,
    flow_advert, flow_key_v4, flow_key_v6, frag_key, held, hop, new_pin, pending_head, pending_set_v4, pending_set_v6,
    prefix_v4, prefix_v6, router_config, service, service_key, slr_addr, slr_const, subnet, usage,
};

/// Types that are plain bytes: any bit pattern is a value, and there is no padding to leak.
///
/// # Safety
/// Implement it only for `repr(C)` types of integers and arrays whose size is the sum of their fields' sizes.
#[expect(unsafe_code, reason = "what crosses the kernel's border is bytes")]
pub unsafe trait Pod: Copy + Default {
    /// All bytes zero. The generated `Default` of a union is not: it sets one member and leaves what others have beyond it.
    fn zeroed() -> Self {
        // SAFETY: any bit pattern is a value.
        unsafe { std::mem::MaybeUninit::zeroed().assume_init() }
    }

    /// The value's bytes, as the kernel stores them.
    fn bytes(&self) -> &[u8] {
        // SAFETY: a Pod has no padding, so all its bytes are initialised; the borrow keeps it alive.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast::<u8>(), size_of::<Self>()) }
    }

    /// The same, to be overwritten.
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes written are a value.
        unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(self).cast::<u8>(), size_of::<Self>()) }
    }

    /// The value that these bytes are; `None` if there are too few or too many.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut value = Self::zeroed();
        (bytes.len() == size_of::<Self>()).then(|| {
            value.bytes_mut().copy_from_slice(bytes);
            value
        })
    }
}

macro_rules! pod {
    ($($kind:ty),*) => {
        $(
            #[expect(unsafe_code, reason = "see the trait")]
            // SAFETY: plain integers; abi.h asserts the sizes, and the test below that nothing is padded.
            unsafe impl Pod for $kind {}
        )*
    };
}

pod!(
    u32,
    u64,
    advert_master,
    advert_record,
    bucket,
    bucket_key,
    capture_filter,
    capture_record,
    class_key,
    counter,
    flow,
    flow_key_v4,
    flow_key_v6,
    frag_key,
    held,
    hop,
    new_pin,
    pending_head,
    pending_set_v4,
    pending_set_v6,
    prefix_v4
);
pod!(prefix_v6, router_config, service, service_key, slr_addr, subnet, usage);

/// The version under which tables are pinned.
pub const VERSION: u32 = slr_const::SLR_ABI_VERSION.0;
