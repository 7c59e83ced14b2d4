//! An allocator that counts: how often a thread asks for memory, and how much the process has.

#![allow(unsafe_code, reason = "an allocator that counts cannot be had without it")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Bytes that are allocated now, by all threads.
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Memory was asked for, and there are so many bytes more.
fn asked(more: i64) {
    let _ = COUNT.try_with(|c| c.set(c.get() + 1));
    LIVE.fetch_add(more, Ordering::Relaxed);
}

struct Counting;

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        asked(layout.size() as i64);
        // SAFETY: the caller's promises are the ones that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: it came from `alloc` above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        asked(size as i64 - layout.size() as i64);
        // SAFETY: it came from `alloc` above, and the caller's promises are the ones that are asked for.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread asked for memory meanwhile.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.with(Cell::get);
    let out = work();
    (out, COUNT.with(Cell::get) - before)
}

/// Bytes that are allocated now, by all threads.
pub(crate) fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// What is allocated more than before `work`, by what it leaves behind.
pub(crate) fn kept<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = live();
    let out = work();
    (out, live() - before)
}
