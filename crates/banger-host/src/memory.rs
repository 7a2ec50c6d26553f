//! The memory of this very process.

use std::ffi::c_int;

/// From `<malloc.h>`.
const M_ARENA_MAX: c_int = -8;

// SAFETY: both take any numbers, beside other threads too: what mallopt(3) sets here is one word,
// which is read anew whenever a thread looks for a heap.
#[expect(unsafe_code, reason = "the functions of glibc have no wrappers")]
unsafe extern "C" {
    safe fn malloc_trim(pad: usize) -> c_int;
    safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

/// Makes the threads to come share the heap of the first. Each would get one of its own, up to
/// eight for each CPU, which [`trim`] cannot shorten.
pub fn share_one_heap() {
    // A refusal costs memory, nothing else.
    mallopt(M_ARENA_MAX, 1);
}

/// Gives memory that is free back to the kernel. By itself glibc gives back only what is free at
/// the end of a heap: whatever lives on there keeps all below it.
pub fn trim() {
    // It says whether there was any.
    malloc_trim(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size()
    }

    #[test]
    fn what_is_free_below_what_is_not_is_given_back() {
        let mut blocks: Vec<_> = (0..32 << 10).map(|_| vec![1_u8; 1000]).collect();
        let last = blocks.pop();
        drop(blocks);
        let kept = resident();
        trim();
        assert!(resident() + 16 * MIB < kept, "{kept} {}", resident());
        drop(last);
    }
}
