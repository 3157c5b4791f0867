//! The host's part of `bpf/abi.h`, through the host object's BTF.

/// The generated skeleton; only its types are used.
#[allow(unsafe_code, missing_docs, dead_code, clippy::all, clippy::pedantic, non_camel_case_types)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/host.skel.rs"));
}

pub use skeleton::types::{
    claim, counter, host_config, host_usage, prefix_v4, prefix_v6, short_v4, short_v6, slr_addr, slr_host_const, stall,
    stall_limit,
};

use crate::abi::Pod;

macro_rules! pod {
    ($($kind:ty),*) => {
        $(
            #[expect(unsafe_code, reason = "see the trait")]
            // SAFETY: plain integers without padding: abi.h names every byte.
            unsafe impl Pod for $kind {}
        )*
    };
}

pod!(claim, counter, host_config, host_usage, prefix_v4, prefix_v6, short_v4, short_v6, stall, stall_limit);
